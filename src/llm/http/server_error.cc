#include "llm/http/server_error.h"

#include <charconv>

#include "base/json_reader.h"

namespace r2router::net {
namespace {

using Kind = JsonReader::Kind;

/// 429 or "429"; 0 for what is no status of an error.
int status_in(JsonReader& reader) {
  std::string text;
  if (reader.kind() == Kind::kNumber) {
    text = reader.raw_number();
  } else if (reader.kind() == Kind::kString) {
    text = reader.string();
  } else {
    reader.skip();
  }
  int status = 0;
  const char* const end = text.data() + text.size();
  const bool whole = std::from_chars(text.data(), end, status).ptr == end;
  return whole && status >= 400 && status < 600 ? status : 0;
}

/// What the provider behind OpenRouter has said, from the error's "metadata".
std::string provider_words(JsonReader& reader) {
  std::string words;
  reader.begin_object();
  while (const auto name = reader.next_member()) {
    if (*name == "raw" && reader.kind() == Kind::kString) {
      words = reader.string();
    } else {
      reader.skip();
    }
  }
  return words;
}

/// Reads the members of an object that is the error itself or holds it.
void read_members(JsonReader& reader, ServerError& error, bool outermost) {
  std::string more;
  reader.begin_object();
  while (const auto name = reader.next_member()) {
    const bool says = *name == "message" || *name == "detail" || *name == "error";
    if (says && reader.kind() == Kind::kString) {
      error.words = reader.string();
    } else if (outermost && *name == "error" && reader.kind() == Kind::kObject) {
      read_members(reader, error, false);
    } else if (!outermost && *name == "metadata" && reader.kind() == Kind::kObject) {
      more = provider_words(reader);
    } else if (*name == "code") {
      if (const int status = status_in(reader); status != 0) error.status = status;
    } else {
      reader.skip();
    }
  }
  if (!more.empty()) error.words += (error.words.empty() ? "" : ": ") + more;
}

}  // namespace

ServerError read_server_error(std::string_view body) {
  ServerError error;
  try {
    JsonReader reader(body, ErrorCode::kBadResponse);
    if (reader.kind() == Kind::kObject) read_members(reader, error, true);
  } catch (const Error&) {
    // A body that is cut or no JSON at all: what was understood of it counts.
  }
  if (error.words.empty()) error.words = body;
  return error;
}

}  // namespace r2router::net
