#include "r2router/llm/http_encoder.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/parallel.h"
#include "base/unicode.h"
#include "encode/arguments.h"
#include "encode/remote/embeddings_response.h"
#include "llm/http/call.h"
#include "llm/http/endpoint.h"
#include "llm/http/retry.h"
#include "llm/http/server_error.h"
#include "llm/http/transport.h"

namespace r2router::llm {
namespace {

/// A text to embed, and the destination of its embedding.
struct Wanted {
  std::string_view text;
  std::span<float> row;
  std::size_t place;                    ///< index among the caller's texts
  std::optional<Failure> failure = {};  ///< why this text alone has no embedding
};

using Batch = std::span<Wanted>;

/// Shared state of the batches of one embed_each().
struct Shared {
  Clock::time_point deadline;
  std::stop_token cancel;
  std::size_t most_failures_in_row;
  std::atomic<std::size_t> failures_in_row = 0;
};

/// So many consecutive failures are not caused by a few texts: halving a batch with up to 7 bad
/// texts yields a part without any after at most 14 failures.
constexpr std::size_t kMostFailuresInRow = 16;

/// Why a batch failed.
struct BatchFailure {
  Failure failure;
  bool may_be_about_texts = false;  ///< one of them, their number, or their total size
};

/// An error under HTTP 200 without its own status can mean anything.
bool may_be_about_texts(const Failure& failure) {
  const int status = failure.http_status;
  return status == 400 || status == 413 || status == 422 || status >= 500 ||
         (failure.code == ErrorCode::kServer && status >= 200 && status < 300);
}

std::string_view path_after(const BaseUrl& base) {
  return base.address.ends_with("/v1") ? "/embeddings" : "/v1/embeddings";
}

HttpEncoderOptions checked(const HttpEncoderOptions& options) {
  const auto refuse = [](const std::string& field, const std::string& found,
                         const std::string& expected) {
    throw Error(ErrorCode::kInvalidArgument,
                "HttpEncoderOptions::" + field + " is " + found + ", expected " + expected);
  };
  if (options.model.empty() || !is_utf8(options.model)) {
    refuse("model", excerpt(options.model), "the server's name for the model, in UTF-8");
  }
  if (options.dimension == 0) refuse("dimension", "0", "the length of the model's embeddings");
  if (options.max_batch_texts == 0) refuse("max_batch_texts", "0", "at least 1");
  if (options.max_concurrency == 0) refuse("max_concurrency", "0", "at least 1");
  return options;
}

/// Why the text cannot be sent; empty if it can. `name`: the name of the text in the message.
std::optional<std::string> find_fault(std::string_view text, const std::string& name) {
  std::size_t bad = 0;
  if (is_utf8(text, &bad)) return {};
  return name + " is not UTF-8 at byte " + std::to_string(bad + 1) +
         ", which requests require: convert it, or replace those bytes";
}

/// How to fix a failure, appended to the message of the server or the network.
std::string_view remedy_for(const Failure& failure) {
  switch (failure.code) {
    case ErrorCode::kConnection:
      return "; is an embedding server running there?";
    case ErrorCode::kAuthentication:
      return "; set a key that this server accepts";
    case ErrorCode::kCredit:
      return "; add credit to the account";
    case ErrorCode::kRateLimited:
      return "; call less often, or allow more retries";
    case ErrorCode::kRefused:
      return failure.http_status == 404
                 ? "; check the base URL, and that the server serves this model's embeddings"
                 : "";
    case ErrorCode::kBadResponse:
      return "; expected the answer of an OpenAI-compatible POST /v1/embeddings: check the base "
             "URL";
    default:
      return "";
  }
}

class HttpEncoder final : public Encoder, public std::enable_shared_from_this<HttpEncoder> {
 public:
  HttpEncoder(const Endpoint& endpoint, const HttpEncoderOptions& options)
      : endpoint_(endpoint),
        options_(checked(options)),
        transport_(make_transport(endpoint)),
        base_(endpoint.base_url),
        address_(base_.address + std::string(path_after(base_))) {}

  std::size_t dimension() const override { return options_.dimension; }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token& cancel) const override {
    internal::check_embed_arguments(texts, out, options_.dimension);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (const auto fault = find_fault(texts[i], "texts[" + std::to_string(i) + "]")) {
        throw Error(ErrorCode::kInvalidArgument, *fault);
      }
    }
    const std::vector<Rejected> rejected = embed_each(texts, out, cancel);
    if (rejected.empty()) return;
    const auto& [place, failure] = rejected[0];
    std::string message = failure.message;
    if (texts.size() > 1) {
      message = "texts[" + std::to_string(place) + "], " + excerpt(texts[place], 40) + " (" +
                std::to_string(texts[place].size()) + " bytes): " + message;
    }
    if (rejected.size() > 1) {
      message += "; " + std::to_string(rejected.size() - 1) +
                 " more texts failed, the next is texts[" + std::to_string(rejected[1].text) + "]";
    }
    throw Error(failure.code, message);
  }

  std::vector<Rejected> embed_each(std::span<const std::string_view> texts, std::span<float> out,
                                   const std::stop_token& cancel) const override {
    const auto self = shared_from_this();  // a static owner may be destroyed during the call
    const std::size_t dimension = options_.dimension;
    internal::check_embed_arguments(texts, out, dimension);
    const auto row = [&](std::size_t i) { return out.subspan(i * dimension, dimension); };

    std::unordered_map<std::string_view, std::size_t> places;  // of each text, the first
    std::vector<Wanted> wanted;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (!is_utf8(texts[i]) || !places.try_emplace(texts[i], i).second) continue;
      if (options_.cache && options_.cache->find(options_.model, texts[i], row(i))) continue;
      wanted.push_back({.text = texts[i], .row = row(i), .place = i});
    }
    fetch_all(wanted, cancel);
    std::unordered_map<std::size_t, const Failure*> failures;  // by place
    for (const Wanted& each : wanted) {
      if (each.failure) failures.emplace(each.place, &*each.failure);
    }
    // If all of several texts failed, the server is the cause, not a text.
    if (places.size() > 1 && failures.size() == places.size()) {
      const Failure& first = *wanted[0].failure;
      throw Error(first.code,
                  first.message + "; all " + std::to_string(places.size()) + " texts failed");
    }
    std::vector<Rejected> rejected;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto place = places.find(texts[i]);
      if (place == places.end()) {
        const std::string fault = find_fault(texts[i], "the text").value_or("");
        rejected.push_back({i, {.code = ErrorCode::kInvalidArgument, .message = fault}});
        continue;
      }
      const std::size_t first = place->second;
      if (const auto failed = failures.find(first); failed != failures.end()) {
        rejected.push_back({i, *failed->second});
      } else if (first != i) {
        std::ranges::copy(row(first), row(i).begin());
      }
    }
    return rejected;
  }

 private:
  std::vector<Batch> batches_of(std::span<Wanted> wanted) const {
    std::vector<Batch> batches;
    std::size_t begin = 0, bytes = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::size_t size = wanted[i].text.size();
      const bool full = i - begin == options_.max_batch_texts ||
                        size > options_.max_batch_bytes - std::min(bytes, options_.max_batch_bytes);
      if (i > begin && full) {
        batches.push_back(wanted.subspan(begin, i - begin));
        begin = i, bytes = 0;
      }
      bytes += size;
    }
    if (begin < wanted.size()) batches.push_back(wanted.subspan(begin));
    return batches;
  }

  void fetch_all(std::span<Wanted> wanted, const std::stop_token& cancel) const {
    const std::vector<Batch> batches = batches_of(wanted);
    Call call(cancel);
    Shared shared{.deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                 std::chrono::duration<double>(
                                                     std::min(endpoint_.timeouts.total, 1e9))),
                  .cancel = call.token(),
                  .most_failures_in_row =
                      kMostFailuresInRow * std::min(options_.max_concurrency, batches.size())};
    std::atomic<bool> failed = false;
    internal::parallel_for(options_.max_concurrency, batches.size(), [&](std::size_t i) {
      const std::optional<Failure> failure = fetch(batches[i], shared);
      // The first failure stops the other batches, and is the one to report.
      if (!failure || failed.exchange(true)) return;
      call.stop();
      throw Error(failure->code, failure->message);
    });
  }

  /// Fetches a batch. If the server rejects it, possibly because of one text or the batch's size,
  /// fetches its halves, level by level, down to single texts. A text that is rejected alone keeps
  /// the failure; any other failure is returned.
  std::optional<Failure> fetch(Batch batch, Shared& shared) const {
    std::deque<Batch> parts = {batch};
    for (; !parts.empty(); parts.pop_front()) {
      const Batch part = parts.front();
      const bool is_whole = part.size() == batch.size();
      std::optional<BatchFailure> failed = fetch_part(part, is_whole, shared);
      if (failed && !failed->may_be_about_texts) return failed->failure;
      std::size_t failures = 1;
      if (failed && part.size() > 1) {
        const std::size_t half = (part.size() + 1) / 2;
        parts.push_back(part.first(half));
        parts.push_back(part.subspan(half));
      } else if (failed) {
        part[0].failure = failed->failure;
      } else {
        const auto has_failed = [](const Wanted& wanted) { return wanted.failure.has_value(); };
        failures = static_cast<std::size_t>(std::ranges::count_if(part, has_failed));
        if (failures < part.size()) {
          shared.failures_in_row = 0;
          continue;
        }
      }
      if ((shared.failures_in_row += failures) >= shared.most_failures_in_row) {
        Failure failure = failed ? failed->failure : *part[0].failure;
        failure.message += "; too many failures in a row, so the rest is not sent";
        return failure;
      }
    }
    return std::nullopt;
  }

  /// Some servers support only decimals and reject requests for base64. Once base64 has been
  /// accepted, a rejection has other reasons. Until then, parts are requested in decimals, which
  /// every server supports.
  std::optional<BatchFailure> fetch_part(Batch part, bool is_whole, Shared& shared) const {
    const Encoding encoding = encoding_;
    if (encoding == Encoding::kDecimals || (encoding == Encoding::kUnknown && !is_whole)) {
      return send(part, "float", is_whole, shared);
    }
    std::optional<BatchFailure> failed = send(part, "base64", is_whole, shared);
    if (encoding != Encoding::kUnknown) return failed;
    if (!failed) {
      encoding_ = Encoding::kBase64;
    } else if (failed->failure.http_status == 400 || failed->failure.http_status == 422) {
      failed = send(part, "float", is_whole, shared);
      if (!failed) encoding_ = Encoding::kDecimals;
    }
    return failed;
  }

  /// Sends requests until there is an answer or no reason to retry, and writes the rows. A rejected
  /// part is not retried, since the whole batch was, unless the server asks to wait.
  std::optional<BatchFailure> send(Batch part, const char* encoding, bool is_whole,
                                   Shared& shared) const {
    nlohmann::json body = {{"model", options_.model}, {"encoding_format", encoding}};
    for (const Wanted& wanted : part) body["input"].push_back(wanted.text);
    const Request request{.url = base_.with(path_after(base_)),
                          .headers = {{"Content-Type", "application/json"}},
                          .body = body.dump(),
                          .deadline = shared.deadline,
                          .cancel = shared.cancel};
    std::optional<Failure> failure;
    bool about_texts = false;
    std::size_t tries = 0;
    const auto make_try = [&] {
      ++tries;
      Response response = transport_->send(request);
      failure = read(response, part);
      // An error under HTTP 200 is retried according to its own status.
      if (failure) response.status = failure->http_status;
      TryResult result = judge(endpoint_.retry, response);
      const bool asks_to_wait = result.retryable && result.retry_after;
      about_texts = failure && may_be_about_texts(*failure) && !asks_to_wait;
      if (about_texts && !is_whole) result.retryable = false;
      return result;
    };
    const Ended ended =
        with_retries(endpoint_.retry, shared.deadline, shared.cancel, UINT32_MAX, make_try);
    if (ended == Ended::kCancelled) {
      about_texts = false;
      failure =
          Failure{.code = ErrorCode::kCancelled, .message = "cancelled while waiting to retry"};
    }
    if (failure) {
      std::string message = address_ + ": " + failure->message;
      if (tries > 1) message += "; asked " + std::to_string(tries) + " times";
      failure->message = message.append(remedy_for(*failure));
      return BatchFailure{*failure, about_texts};
    }
    if (options_.cache) {
      for (const Wanted& wanted : part) {
        if (!wanted.failure) options_.cache->insert(options_.model, wanted.text, wanted.row);
      }
    }
    return std::nullopt;
  }

  /// Writes the rows of an answer, or returns why there is none. A text whose embedding alone is
  /// unusable gets its own failure.
  std::optional<Failure> read(const Response& response, Batch part) const {
    if (response.failure) return response.failure;
    const int status = response.status;
    if (status >= 200 && status < 300) {
      std::vector<std::span<float>> rows;
      for (const Wanted& wanted : part) rows.push_back(wanted.row);
      try {
        if (const auto bad = internal::read_embeddings(response.body, rows)) {
          for (const auto& [text, message] : *bad) {
            part[text].failure = Failure{.code = ErrorCode::kBadResponse,
                                         .http_status = status,
                                         .message = address_ + ": " + message};
          }
          return std::nullopt;
        }
      } catch (const Error& error) {
        std::string message = error.what();
        const std::string* type = find_header(response.headers, "content-type");
        if (type == nullptr || type->find("json") == type->npos) {
          message += "; the answer is not declared as JSON and begins " + quote(response.body) +
                     ": check that the base URL is that of an OpenAI-compatible server";
        }
        return Failure{.code = error.code(), .http_status = status, .message = message};
      }
    }
    if (status >= 300 && status < 400) {
      const std::string* location = find_header(response.headers, "location");
      return Failure{
          .code = ErrorCode::kRefused,
          .http_status = status,
          .message =
              "the server redirects (HTTP " + std::to_string(status) + ") to " +
              (location == nullptr ? "nowhere" : quote(*location)) +
              ", where neither the texts nor the key are sent; set the base URL of that server"};
    }
    const ServerError error = read_server_error(response.body);
    const int own_status = error.status != 0 ? error.status : status;
    const bool telling = own_status >= 400;
    return Failure{.code = telling ? classify(own_status) : ErrorCode::kServer,
                   .http_status = own_status,
                   .message = (telling ? "the server reports error " + std::to_string(own_status)
                                       : "the server reports an error") +
                              (error.words.empty() ? "" : ": " + quote(error.words))};
  }

  /// A server's message. The key is removed before the message is cut, so that no part of it
  /// remains.
  std::string quote(std::string_view words) const {
    return excerpt(redact(std::string(words), endpoint_.api_key), 300);
  }

  enum class Encoding : std::uint8_t { kUnknown, kBase64, kDecimals };

  const Endpoint endpoint_;
  const HttpEncoderOptions options_;
  const std::shared_ptr<const Transport> transport_;
  const BaseUrl base_;
  const std::string address_;  // for messages; without the query string, which may contain a key
  mutable std::atomic<Encoding> encoding_ = Encoding::kUnknown;  // what the server has accepted
};

}  // namespace

std::shared_ptr<const Encoder> make_http_encoder(const Endpoint& endpoint,
                                                 const HttpEncoderOptions& options) {
  return std::make_shared<HttpEncoder>(endpoint, options);
}

}  // namespace r2router::llm
