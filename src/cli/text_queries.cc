#include "cli/text_queries.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/unicode.h"
#include "cli/policy_options.h"
#include "data/table_file.h"
#include "encode/arguments.h"
#include "pipeline/query_line.h"

namespace r2router::cli {
namespace {

// For each request that may be under way. As many as HttpEmbedderOptions sends in one.
constexpr std::size_t kBatchTexts = 64;
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;

void check_text(std::string_view text, const Error::Where& where) {
  std::size_t bad = 0;
  if (!is_utf8(text, &bad)) {
    Error::Where place = where;
    place.byte_offset = place.byte_offset.value_or(0) + bad;
    throw Error(ErrorCode::kBadData, "the text is not UTF-8: convert it, for example with iconv",
                place);
  }
}

Error too_long(const Error::Where& where) {
  return Error(ErrorCode::kBadData,
               "the line is longer than " + std::to_string(LineReader::kMaxLine >> 20) +
                   " MiB, the most that is read",
               where);
}

}  // namespace

ReplyLabel TextQueries::Item::label() const {
  return {.query = {.id = id, .query = text}, .line = line};
}

TextQueries::TextQueries(const RouteSettings& settings, Router router,
                         std::shared_ptr<const llm::Client> client)
    : settings_(settings),
      router_(std::move(router)),
      client_(std::move(client)),
      options_(settings.options),
      batch_texts_(settings.servers.embeds() ? kBatchTexts * settings.servers.concurrency : 1),
      printer_(settings.as_text() ? ReplyPrinter::Form::kText : ReplyPrinter::Form::kJson,
               !settings.query, settings.verbose) {
  options_.cancel = interrupt_.token();
  // For people the ranking tells the candidates, and for answers where to fall back to.
  options_.rank =
      settings.verbose || settings.as_text() || (client_ && settings.servers.max_fallbacks > 0);
  if (client_ && !settings.query && !settings.servers.stream) {
    workers_.emplace(settings.servers.concurrency);
  }
}

int TextQueries::run() {
  try {
    settings_.query ? run_query() : run_lines();
  } catch (const Error& error) {
    if (workers_) workers_->finish();
    printer_.flush();  // what was decided before stands
    if (interrupt_.requested() && error.code() == ErrorCode::kCancelled) {
      return Interrupt::kExitCode;
    }
    throw;
  }
  printer_.flush();
  progress_.clear();
  if (interrupt_.requested()) {
    print_remark("interrupted", std::to_string(good_) + " queries are done, " +
                                    std::to_string(bad_) + " that were begun are not");
    return Interrupt::kExitCode;
  }
  if (bad_ > 0 && settings_.as_text()) {
    print_remark("error", std::to_string(bad_) + " of " + std::to_string(good_ + bad_) +
                              " queries were not " + (client_ ? "answered" : "routed"));
  }
  return bad_ == 0 ? 0 : 1;
}

void TextQueries::run_query() {
  const Item item{.text = settings_.query, .options = options_};
  check_text(*item.text, {.file = "--query"});
  const Decision decision = route(item);
  if (client_) {
    answer_at_once(item, decision);
  } else {
    printer_.decision(item.label(), decision);
  }
}

void TextQueries::run_lines() {
  // Whoever waits for replies may be the one whose next query we are about to wait for.
  const auto before_wait = [this] {
    route_batch();
    if (!workers_) printer_.flush();
  };
  const std::string& file = settings_.file ? *settings_.file : *settings_.input;
  if (settings_.input && std::filesystem::is_regular_file(file) &&
      io::is_other_table(file, "query")) {
    run_table(file);
    return;
  }
  LineReader lines(file, before_wait, interrupt_.descriptor());
  while (!interrupt_.requested()) {
    const auto line = lines.next();
    if (!line) break;
    if (!line->too_long && internal::is_blank(line->text)) continue;
    batch_bytes_ += line->text.size();
    batch_.push_back(settings_.file ? parse_text(*line, lines.name()) : parse_json(*line));
    if (batch_.size() >= batch_texts_ ||
        batch_bytes_ >= kBatchBytes * settings_.servers.concurrency) {
      route_batch();
    }
  }
  route_batch();
  if (workers_) workers_->finish();
}

void TextQueries::run_table(const std::string& file) {
  io::for_each_row_text(file, [&](const std::string& text, std::uint64_t line) {
    if (interrupt_.requested()) return;
    batch_bytes_ += text.size();
    batch_.push_back(parse_json({.text = text, .number = line}));
    if (batch_.size() >= batch_texts_ ||
        batch_bytes_ >= kBatchBytes * settings_.servers.concurrency) {
      route_batch();
    }
  });
  route_batch();
  if (workers_) workers_->finish();
}

TextQueries::Item TextQueries::parse_text(const LineReader::Line& line,
                                          const std::string& file) const {
  Item item{.line = line.number, .options = options_};
  try {
    if (line.too_long) throw too_long({.file = file, .line = line.number});
    check_text(line.text, {.file = file, .byte_offset = line.offset, .line = line.number});
    item.text = line.text;
  } catch (const Error& error) {
    item.error = error.what();
  }
  return item;
}

TextQueries::Item TextQueries::parse_json(const LineReader::Line& line) {
  Item item{.line = line.number, .options = options_};
  if (line.too_long) {
    item.error = too_long({}).what();
    return item;
  }
  QueryLine query = parse_query_line(line.text);
  item.id = std::move(query.id);
  item.error = std::move(query.error);
  if (item.error.empty() && client_ && !query.query) {
    item.error = "an embedding cannot be answered: expected \"query\", the text";
  }
  item.text = std::move(query.query);
  item.embedding = std::move(query.embedding);
  if (!item.error.empty()) return item;
  RouteOptions& options = item.options;
  if (query.input_tokens) options.input_tokens = query.input_tokens;
  if (query.max_input_tokens) options.max_input_tokens = query.max_input_tokens;
  if (query.images) options.images = *query.images;
  if (query.explain) options.explain = *query.explain;
  try {
    if (query.policy) options.policy = merge(options.policy, named_policy(*query.policy));
    options.policy = merge(options.policy, query.settings);
  } catch (const Error& error) {
    item.error = std::string("policy: ") + error.what();
  }
  return item;
}

const Policy& TextQueries::named_policy(const std::string& policy) {
  const auto known = policies_.find(policy);
  if (known != policies_.end()) return known->second;
  return policies_.emplace(policy, read_policy(policy, settings_.checkpoint_dir)).first->second;
}

// A line that cannot be routed gets an error in its place, and the others go on: output can be
// joined with input by line or by id. What fails for every line of plain text ends the run.
void TextQueries::route_batch() {
  const std::optional<Error> none_embedded = fetch_embeddings();
  batch_bytes_ = 0;
  for (Item& item : std::exchange(batch_, {})) {
    if (interrupt_.requested()) return;
    if (!item.error.empty()) {
      std::string message = std::exchange(item.error, {});
      tell(error_tell(std::move(item), std::move(message)));
      continue;
    }
    try {
      if (none_embedded && item.text) throw Error(*none_embedded);
      Decision decision = route(item);
      if (workers_) {
        workers_->add(answer_job(std::move(item), std::move(decision)));
      } else if (client_) {
        answer_at_once(item, decision);
      } else {
        printer_.decision(item.label(), decision);
        count(true);
      }
    } catch (const Error& error) {
      if (interrupt_.requested()) return;
      if (error.code() == ErrorCode::kIo || (settings_.file && !client_)) throw;
      tell(error_tell(std::move(item), error.what()));
    }
  }
}

// The server is asked for all at once; the embedder keeps what it got, and finds it again when each
// query is routed. Returns an error that concerns all of them.
std::optional<Error> TextQueries::fetch_embeddings() {
  if (!settings_.servers.embeds()) return {};
  std::vector<std::string_view> texts;
  std::vector<Item*> items;  // of the texts
  for (Item& item : batch_) {
    if (!item.text || !item.error.empty() || internal::is_blank(*item.text)) continue;
    texts.push_back(*item.text);
    items.push_back(&item);
  }
  if (texts.empty()) return {};
  std::vector<float> embeddings(texts.size() * router_.dimension());
  try {
    for (const auto& [text, failure] :
         router_.embedder()->embed_each(texts, embeddings, interrupt_.token())) {
      items[text]->error = failure.message;
    }
  } catch (const Error& error) {
    return error;
  }
  return {};
}

// The library's own messages speak to programmers: these name the options to use instead.
Decision TextQueries::route(const Item& item) const {
  if (item.embedding || router_.embedder()) {
    try {
      return item.embedding ? router_.route(std::span<const double>(*item.embedding), item.options)
                            : router_.route_text(*item.text, item.options);
    } catch (const Error& error) {
      throw with_flag_named(error, settings_.policy, item.options.policy);
    }
  }
  throw Error(ErrorCode::kUnsupported,
              "this checkpoint has no encoder for text: name a server that serves " +
                  router_.config().embedding_model +
                  " with --embed-url, or give its embeddings with --embeddings or as "
                  "\"embedding\" in the lines of --input");
}

llm::Completion TextQueries::ask(const Item& item, const Decision& decision,
                                 std::function<void(std::string_view)> on_text) const {
  return llm::generate(*client_, router_, *item.text, decision,
                       {.temperature = settings_.servers.temperature,
                        .timeout = settings_.servers.timeout,
                        .max_fallbacks = settings_.servers.max_fallbacks,
                        .split_thinking = settings_.servers.split_thinking,
                        .on_text = std::move(on_text),
                        .cancel = interrupt_.token()});
}

// Where there is but one at a time: what is known already is shown while the answer is made.
void TextQueries::answer_at_once(const Item& item, const Decision& decision) {
  llm::Completion completion;
  if (settings_.as_text()) {
    printer_.begin_answer(item.label(), decision);
    printer_.flush();
    const auto on_text = [this](std::string_view text) {
      printer_.piece(text);
      printer_.flush();
    };
    if (settings_.servers.stream) {
      completion = ask(item, decision, on_text);
    } else {
      completion = ask(item, decision, {});
      printer_.piece(completion.text);
    }
    printer_.end_answer(decision, completion);
  } else {
    completion = ask(item, decision, {});
    printer_.answer(item.label(), decision, completion);
  }
  printer_.flush();
  count(completion.ok());
  if (settings_.query && completion.failure) {
    throw Error(completion.failure->code, completion.failure->message);
  }
}

OrderedWorkers::Job TextQueries::answer_job(Item item, Decision decision) {
  return [this, item = std::move(item), decision = std::move(decision)]() -> OrderedWorkers::Tell {
    try {
      return [this, item, decision, completion = ask(item, decision, {})] {
        printer_.answer(item.label(), decision, completion);
        printer_.flush();
        count(completion.ok());
      };
    } catch (const Error& error) {
      return error_tell(item, error.what());
    }
  };
}

OrderedWorkers::Tell TextQueries::error_tell(Item item, std::string message) {
  return [this, item = std::move(item), message = std::move(message)] {
    printer_.error(item.label(), client_ ? "Not answered" : "Not routed", message);
    if (workers_) printer_.flush();
    count(false);
  };
}

// In its turn, if there are others before it.
void TextQueries::tell(OrderedWorkers::Tell tell) {
  if (workers_) {
    workers_->add([tell = std::move(tell)] { return tell; });
  } else {
    tell();
  }
}

void TextQueries::count(bool good) {
  ++(good ? good_ : bad_);
  if (workers_) progress_.show(std::to_string(good_ + bad_) + " queries answered");
}

}  // namespace r2router::cli
