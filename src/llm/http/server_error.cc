#include "llm/http/server_error.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/json_reader.h"
#include "base/unicode.h"
#include "llm/http/retry.h"

namespace r2router::llm {
namespace {

using Kind = JsonReader::Kind;

/// Maximum nesting, including JSON within strings.
constexpr int kMostDepth = 8;
/// Maximum bytes of text collected from a list or an object, and maximum number of names of each
/// kind.
constexpr std::size_t kMostWords = 8192;
constexpr std::size_t kMostNames = 8;

template <std::size_t N>
std::size_t place_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return static_cast<std::size_t>(std::ranges::find(names, name) - names.begin());
}

/// Members with text, in the order in which they are joined.
constexpr std::array<std::string_view, 16> kWords = {
    "fault",       "error",         "errors",       "title",     "message",
    "msg",         "error_message", "errormessage", "error_msg", "error_description",
    "faultstring", "text",          "description",  "detail",    "raw",
    "metadata"};
/// Members with text that is used only if there is no other.
constexpr std::array<std::string_view, 2> kRemarks = {"details", "reason"};
/// Members with a status or a kind of error.
constexpr std::array<std::string_view, 10> kCodes = {
    "code",       "status",     "statuscode", "status_code", "http_status",
    "error_code", "error_type", "type",       "reason",      "__type"};

/// Joined texts: "a: b" for the parts of one error.
class Words {
 public:
  void add(std::string_view more, std::string_view separator) {
    // Servers repeat themselves: {"error": "Bad Request", "message": "Bad Request: …"}.
    if (more.empty() || text_.size() > kMostWords || text_.find(more) != text_.npos) return;
    if (more.find(text_) != more.npos) text_.clear();
    if (!text_.empty()) text_ += separator;
    text_ += more;
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// Reads one JSON text. JSON within its strings is read by a nested reader.
class ErrorReader {
 public:
  ErrorReader(std::string_view json, ServerError& error, int depth)
      : reader_(json, ErrorCode::kBadResponse), error_(error), depth_(depth) {}

  /// The text of the whole document, or of the part before it was cut off.
  std::string read() {
    std::string words;
    try {
      const Kind kind = reader_.kind();
      if (kind != Kind::kObject && kind != Kind::kArray) return {};
      words = value(depth_);
      if (!broken_) reader_.end();
    } catch (const Error&) {
      broken_ = true;
    }
    return words;
  }

  bool broken() const { return broken_; }

 private:
  std::string value(int depth) {
    switch (reader_.kind()) {
      case Kind::kString:
        return string(depth);
      case Kind::kObject:
        if (depth < kMostDepth) return object(depth);
        break;
      case Kind::kArray:
        if (depth < kMostDepth) return array(depth);
        break;
      default:
        break;
    }
    reader_.skip();
    return {};
  }

  /// A string may contain the JSON of another server, alone or after other text.
  std::string string(int depth) {
    std::string text = reader_.string();
    const std::size_t begin = trimmed(text).starts_with('[') ? text.find('[') : text.find('{');
    if (begin == text.npos || depth >= kMostDepth) return text;
    ServerError within;
    ErrorReader inner(std::string_view(text).substr(begin), within, depth + 1);
    std::string words = inner.read();
    if (inner.broken() || words.empty()) return text;
    if (error_.status == 0) error_.status = within.status;
    add_kind(within.kinds);
    for (std::string& name : within.parameters) add_parameter(std::move(name));
    std::string_view before = std::string_view(text).substr(0, begin);
    while (!before.empty() && (before.back() == ' ' || before.back() == '-' ||
                               before.back() == ':' || before.back() == '\n')) {
      before.remove_suffix(1);
    }
    Words all;
    all.add(before, "");
    all.add(words, ": ");
    return all.take();
  }

  std::string array(int depth) {
    Words words;
    try {
      for (reader_.begin_array(); !broken_ && reader_.next_element();) {
        words.add(value(depth + 1), "; ");
      }
    } catch (const Error&) {
      broken_ = true;
    }
    return words.take();
  }

  std::string object(int depth) {
    std::array<std::string, kWords.size()> parts;
    std::string remark, place;
    try {
      reader_.begin_object();
      while (!broken_) {
        const auto member = reader_.next_member();
        if (!member) break;
        const std::string name = internal::lower_case(member->substr(0, 32));
        const std::size_t word = place_of(name, kWords);
        if (name == "loc") {
          place = location(depth);
        } else if (name == "param" || name == "field") {
          parameter();
        } else if (name == "metadata") {
          parts[word] = provider_words(depth);
        } else if (word < kWords.size()) {
          parts[word] = value(depth + 1);
        } else if (place_of(name, kCodes) < kCodes.size()) {
          std::string named = code();
          if (name == "reason") remark = std::move(named);
        } else if (place_of(name, kRemarks) < kRemarks.size()) {
          remark = value(depth + 1);
        } else if (name == "fieldviolations") {
          value(depth + 1);
        } else {
          reader_.skip();
        }
      }
    } catch (const Error&) {
      broken_ = true;
    }
    Words words;
    for (const std::string& part : parts) words.add(part, ": ");
    std::string text = words.take();
    if (text.empty()) text = std::move(remark);
    return place.empty() || text.empty() ? text : place + ": " + text;
  }

  /// FastAPI's location of an error, ["body", "max_tokens"]: "body.max_tokens".
  std::string location(int depth) {
    std::string place;
    if (reader_.kind() != Kind::kArray) {
      place = value(depth + 1);
    } else {
      for (reader_.begin_array(); reader_.next_element();) {
        std::string step;
        if (reader_.kind() == Kind::kNumber) {
          step = reader_.raw_number();
        } else {
          step = value(kMostDepth);
          add_parameter(step);
        }
        if (place.size() < kMostWords) place += (place.empty() ? "" : ".") + step;
      }
    }
    return place;
  }

  void parameter() {
    if (reader_.kind() == Kind::kString) {
      add_parameter(reader_.string());
    } else {
      reader_.skip();
    }
  }

  /// The error of the provider behind OpenRouter. The rest of "metadata" describes the provider.
  std::string provider_words(int depth) {
    if (reader_.kind() != Kind::kObject) {
      reader_.skip();
      return {};
    }
    std::string words;
    reader_.begin_object();
    while (!broken_) {
      const auto name = reader_.next_member();
      if (!name) break;
      if (*name == "raw") {
        words = value(depth + 1);
      } else {
        reader_.skip();
      }
    }
    return words;
  }

  /// A status, 429 or "429", or the name of a kind of error; returns the name.
  std::string code() {
    std::string text;
    if (reader_.kind() == Kind::kNumber) {
      text = reader_.raw_number();
    } else if (reader_.kind() == Kind::kString) {
      text = reader_.string();
    } else {
      reader_.skip();
    }
    int status = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), end, status).ptr == end) {
      if (status >= 400 && status < 600) error_.status = status;
      return {};
    }
    add_kind(text);
    return text;
  }

  void add_kind(std::string_view kind) {
    if (kind.empty() || error_.kinds.size() + kind.size() > kMostWords) return;
    if (!error_.kinds.empty()) error_.kinds += ' ';
    error_.kinds += internal::lower_case(kind);
  }

  void add_parameter(std::string name) {
    if (!name.empty() && error_.parameters.size() < kMostNames) {
      error_.parameters.push_back(std::move(name));
    }
  }

  JsonReader reader_;
  ServerError& error_;
  const int depth_;
  bool broken_ = false;  // the rest is cut off or not JSON
};

/// The part of `text` between `begin` and `end`, which are searched in `lower`; "" if not found.
std::string_view between(std::string_view text, std::string_view lower, std::string_view begin,
                         std::string_view end) {
  std::size_t from = lower.find(begin);
  if (from == lower.npos) return {};
  from = lower.find('>', from);
  if (from == lower.npos) return {};
  const std::size_t to = lower.find(end, from);
  return to == lower.npos ? std::string_view() : text.substr(from + 1, to - from - 1);
}

std::string without_tags(std::string_view html) {
  std::string text;
  while (!html.empty()) {
    const std::size_t tag = html.find('<');
    text.append(html.substr(0, tag)).append(" ");
    if (tag == html.npos) break;
    const std::size_t end = html.find('>', tag);
    if (end == html.npos) break;
    html.remove_prefix(end + 1);
  }
  return text;
}

/// The message of an HTML or XML page: its title or, without one, its text.
std::string page_text(std::string_view page) {
  const std::string lower = internal::lower_case(page);
  const std::string_view title = between(page, lower, "<title", "</title");
  std::string text = without_tags(trimmed(title).empty() ? page : title);
  constexpr std::pair<std::string_view, char> kEntities[] = {{"&nbsp;", ' '}, {"&lt;", '<'},
                                                             {"&gt;", '>'},   {"&quot;", '"'},
                                                             {"&#39;", '\''}, {"&amp;", '&'}};
  for (const auto& [name, character] : kEntities) {
    for (std::size_t at = 0; (at = text.find(name, at)) != text.npos; ++at) {
      text.replace(at, name.size(), 1, character);
    }
  }
  return text;
}

/// One line: runs of white space and control characters become one space.
std::string one_line(std::string_view text) {
  std::string line;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = decode_utf8(text, position);
    if (is_space(c) || c < 0x20 || c == 0x7F) {
      if (!line.empty() && line.back() != ' ') line += ' ';
    } else {
      line += text.substr(begin, position - begin);
    }
  }
  if (line.ends_with(' ')) line.pop_back();
  return line;
}

std::string to_line(std::string_view words) {
  words = trimmed(words);
  const bool page = words.starts_with('<') && words.ends_with('>');
  std::string line = one_line(page ? page_text(words) : std::string(words));
  return line.empty() ? one_line(words) : line;
}

// ---- Classification

struct Sign {
  ErrorCode code;
  /// In lower case, with spaces for "_" and "-"; the parts around "*" are close together.
  std::string_view phrase;
};

/// The first match counts.
constexpr Sign kSigns[] = {
    {ErrorCode::kAuthentication, "invalid api key"},
    {ErrorCode::kAuthentication, "invalid x api key"},
    {ErrorCode::kAuthentication, "incorrect api key"},
    {ErrorCode::kAuthentication, "valid api key"},
    {ErrorCode::kAuthentication, "api key*invalid"},
    {ErrorCode::kAuthentication, "api key*not valid"},
    {ErrorCode::kAuthentication, "api key*incorrect"},
    {ErrorCode::kAuthentication, "api key*wrong"},
    {ErrorCode::kAuthentication, "api key*expired"},
    {ErrorCode::kAuthentication, "api key*revoked"},
    {ErrorCode::kAuthentication, "api key*disabled"},
    {ErrorCode::kAuthentication, "api key*missing"},
    {ErrorCode::kAuthentication, "api key*required"},
    {ErrorCode::kAuthentication, "api key*not found"},
    {ErrorCode::kAuthentication, "missing api key"},
    {ErrorCode::kAuthentication, "expired api key"},
    {ErrorCode::kAuthentication, "no api key"},
    {ErrorCode::kAuthentication, "invalid access token"},
    {ErrorCode::kAuthentication, "invalid bearer token"},
    {ErrorCode::kAuthentication, "invalid credentials"},
    {ErrorCode::kAuthentication, "invalid authentication"},
    {ErrorCode::kAuthentication, "authentication error"},
    {ErrorCode::kAuthentication, "authentication fail"},
    {ErrorCode::kAuthentication, "authentication required"},
    {ErrorCode::kAuthentication, "unauthenticated"},
    {ErrorCode::kAuthentication, "not authenticated"},
    {ErrorCode::kAuthentication, "no auth credentials"},
    {ErrorCode::kAuthentication, "unauthorized"},

    {ErrorCode::kCredit, "insufficient quota"},
    {ErrorCode::kCredit, "insufficient credit"},
    {ErrorCode::kCredit, "insufficient balance"},
    {ErrorCode::kCredit, "insufficient funds"},
    {ErrorCode::kCredit, "credit balance"},
    {ErrorCode::kCredit, "more credits"},
    {ErrorCode::kCredit, "out of credit"},
    {ErrorCode::kCredit, "payment required"},
    {ErrorCode::kCredit, "billing hard limit"},

    {ErrorCode::kTooLong, "request too large"},  // also for a request above any rate limit
    {ErrorCode::kRateLimited, "rate limit"},
    {ErrorCode::kRateLimited, "ratelimit"},
    {ErrorCode::kRateLimited, "too many requests"},
    {ErrorCode::kRateLimited, "resource exhausted"},
    {ErrorCode::kRateLimited, "throttl"},
    {ErrorCode::kRateLimited, "requests per minute"},
    {ErrorCode::kRateLimited, "tokens per minute"},

    {ErrorCode::kTooLong, "context length"},
    {ErrorCode::kTooLong, "context window"},
    {ErrorCode::kTooLong, "context size"},
    {ErrorCode::kTooLong, "context limit"},
    {ErrorCode::kTooLong, "maximum context"},
    {ErrorCode::kTooLong, "prompt*too long"},
    {ErrorCode::kTooLong, "input*too long"},
    {ErrorCode::kTooLong, "messages*too long"},
    {ErrorCode::kTooLong, "too many tokens"},
    {ErrorCode::kTooLong, "too many input tokens"},
    {ErrorCode::kTooLong, "input token*exceed"},
    {ErrorCode::kTooLong, "token count*exceed"},
    {ErrorCode::kTooLong, "exceed*maximum*tokens"},
    {ErrorCode::kTooLong, "exceed*token limit"},
    {ErrorCode::kTooLong, "exceed*max*length"},
    {ErrorCode::kTooLong, "max new tokens*must be <="},
    {ErrorCode::kTooLong, "reduce the length"},
    // A cap above what the model may write. Another model may accept it.
    {ErrorCode::kTooLong, "tokens*too large"},
    {ErrorCode::kTooLong, "tokens*too high"},
    {ErrorCode::kTooLong, "tokens*less than or equal"},
    {ErrorCode::kTooLong, "tokens*at most"},
    {ErrorCode::kTooLong, "tokens*maximum allowed"},
    {ErrorCode::kTooLong, "tokens*maximum value"},
    {ErrorCode::kTooLong, "tokens*valid range"},
    {ErrorCode::kTooLong, "tokens*supported range"},
    {ErrorCode::kTooLong, "maxoutputtokens*supported range"},
    {ErrorCode::kTooLong, "string above max length"},
    // A cap below what the model may be given. Another model may accept it.
    {ErrorCode::kUnsupported, "tokens*at least"},
    {ErrorCode::kUnsupported, "tokens*greater than"},
    {ErrorCode::kUnsupported, "tokens*must be >"},
    {ErrorCode::kUnsupported, "tokens*below minimum"},
    {ErrorCode::kUnsupported, "tokens*minimum value"},
    {ErrorCode::kUnsupported, "tokens*too small"},
    {ErrorCode::kUnsupported, "tokens*too low"},

    {ErrorCode::kNoAnswer, "content policy"},
    {ErrorCode::kNoAnswer, "content management policy"},
    {ErrorCode::kNoAnswer, "content filter"},
    {ErrorCode::kNoAnswer, "content moderation"},
    {ErrorCode::kNoAnswer, "requires moderation"},
    {ErrorCode::kNoAnswer, "moderation blocked"},
    {ErrorCode::kNoAnswer, "responsibleaipolicy"},
    {ErrorCode::kNoAnswer, "safety system"},
    {ErrorCode::kNoAnswer, "safety filter"},
    {ErrorCode::kNoAnswer, "safety polic"},
    {ErrorCode::kNoAnswer, "usage polic"},
    {ErrorCode::kNoAnswer, "acceptable use"},
    {ErrorCode::kNoAnswer, "was flagged"},
    {ErrorCode::kNoAnswer, "been flagged"},
    {ErrorCode::kNoAnswer, "inappropriate content"},
    {ErrorCode::kNoAnswer, "prohibited content"},
    {ErrorCode::kNoAnswer, "data inspection failed"},
    {ErrorCode::kNoAnswer, "guardrail"},
    {ErrorCode::kNoAnswer, "content exists risk"},
    {ErrorCode::kNoAnswer, "sensitive content"},
    {ErrorCode::kNoAnswer, "sensitive information"},
    {ErrorCode::kNoAnswer, "unsafe content"},
    {ErrorCode::kNoAnswer, "harmful content"},
    {ErrorCode::kNoAnswer, "illegal content"},
    {ErrorCode::kNoAnswer, "content*violat"},
    {ErrorCode::kNoAnswer, "violat*polic"},
    {ErrorCode::kNoAnswer, "violat*guidelines"},

    {ErrorCode::kUnsupported, "unsupported parameter"},
    {ErrorCode::kUnsupported, "unsupported value"},
    {ErrorCode::kUnsupported, "not support*with this model"},
    {ErrorCode::kUnsupported, "not support*by this model"},
    {ErrorCode::kUnsupported, "not support*for this model"},
    {ErrorCode::kUnsupported, "this model does not support"},
    {ErrorCode::kUnsupported, "this model doesn't support"},
    {ErrorCode::kUnsupported, "not enabled for model"},
};

/// The same for an unknown model. These phrases also occur in errors about parameters.
constexpr Sign kModelSigns[] = {
    {ErrorCode::kNotFound, "model not found"},
    {ErrorCode::kNotFound, "model*not found"},
    {ErrorCode::kNotFound, "model*does not exist"},
    {ErrorCode::kNotFound, "model*doesn't exist"},
    {ErrorCode::kNotFound, "model*not exist"},
    {ErrorCode::kNotFound, "model*not supported"},
    {ErrorCode::kNotFound, "model*not available"},
    {ErrorCode::kNotFound, "model*no longer available"},
    {ErrorCode::kNotFound, "model*unavailable"},
    {ErrorCode::kNotFound, "model*decommissioned"},
    {ErrorCode::kNotFound, "model*deprecated"},
    {ErrorCode::kNotFound, "access to*model"},
    {ErrorCode::kNotFound, "no such model"},
    {ErrorCode::kNotFound, "unknown model"},
    {ErrorCode::kNotFound, "invalid model"},
    {ErrorCode::kNotFound, "unsupported model"},
    {ErrorCode::kNotFound, "not a valid model"},
    {ErrorCode::kNotFound, "no endpoints found"},
    {ErrorCode::kNotFound, "no allowed providers"},
};

constexpr std::string_view kUnsupported[] = {
    "unsupported",         "not supported", "not support",
    "unrecognized",        "unrecognised",  "unknown",
    "unexpected",          "not permitted", "not allowed",
    "extra forbidden",     "extra inputs",  "extra fields",
    "no longer supported", "deprecated",    "not a valid parameter",
    "invalid parameter",   "not accepted",  "use*max completion tokens",
    "use*max tokens"};

bool contains(std::string_view text, std::string_view phrase) {
  constexpr std::size_t kNear = 60;
  const std::size_t star = phrase.find('*');
  const std::string_view first = phrase.substr(0, star);
  for (std::size_t at = text.find(first); at != text.npos; at = text.find(first, at + 1)) {
    if (star == phrase.npos) return true;
    const std::string_view rest = phrase.substr(star + 1);
    const std::size_t end = at + first.size();
    if (contains(text.substr(end, kNear + rest.size()), rest)) return true;
  }
  return false;
}

/// Text and codes, normalised like the signs.
std::string evidence_of(const ServerError& error) {
  std::string text = internal::lower_case(error.words.substr(0, kMostWords)) + " | " + error.kinds;
  for (char& c : text) {
    if (c == '_' || c == '-') c = ' ';
  }
  for (std::size_t at = 0; (at = text.find("apikey", at)) != text.npos;) {
    text.insert(at + 3, 1, ' ');
  }
  return text;
}

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

}  // namespace

ServerError read_server_error(std::string_view body) {
  if (body.starts_with("\xEF\xBB\xBF")) body.remove_prefix(3);  // a byte order mark
  ServerError error;
  error.words = ErrorReader(body, error, 0).read();
  if (trimmed(error.words).empty()) error.words = body;
  error.words = to_line(error.words);
  return error;
}

ErrorCode classify(int status, const ServerError& error) {
  // OpenAI also uses 429 for errors that waiting does not fix.
  if (status == 429 && error.kinds.find("insufficient_quota") != error.kinds.npos) {
    return ErrorCode::kCredit;
  }
  if (status == 404) return ErrorCode::kNotFound;
  const ErrorCode usual = status == 0 ? ErrorCode::kServer : classify(status);
  const bool open = status == 0 || status == 403 || usual == ErrorCode::kRefused;
  if (!open) return usual;
  const std::string evidence = evidence_of(error);
  for (const auto& [code, phrase] : kSigns) {
    if (contains(evidence, phrase)) return code;
  }
  const bool about_parameter =
      contains(evidence, "parameter") ||
      std::ranges::any_of(error.parameters, [](const auto& name) { return name != "model"; });
  if (!about_parameter) {
    for (const auto& [code, phrase] : kModelSigns) {
      if (contains(evidence, phrase)) return code;
    }
  }
  return usual;
}

bool names_parameter(const ServerError& error, std::string_view name) {
  for (const std::string& parameter : error.parameters) {
    if (parameter == name || parameter.ends_with("." + std::string(name))) return true;
  }
  const std::string_view words = error.words;
  for (std::size_t at = words.find(name); at != words.npos; at = words.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if ((at == 0 || !is_name_character(words[at - 1])) &&
        (end == words.size() || !is_name_character(words[end]))) {
      return true;
    }
  }
  return false;
}

bool says_unsupported(const ServerError& error) {
  const std::string evidence = evidence_of(error);
  return std::ranges::any_of(kUnsupported,
                             [&](std::string_view phrase) { return contains(evidence, phrase); });
}

bool rejects_parameter(int status, const ServerError& error, std::string_view name) {
  if (status != 400 && status != 422) return false;
  const ErrorCode code = classify(status, error);
  return (code == ErrorCode::kRefused || code == ErrorCode::kUnsupported) &&
         names_parameter(error, name) && says_unsupported(error);
}

}  // namespace r2router::llm
