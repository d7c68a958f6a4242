#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/embedder.h"
#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/parallel.h"
#include "base/unicode.h"
#include "encode/arguments.h"
#include "encode/remote/embeddings_response.h"
#include "llm/http/retry.h"
#include "llm/http/server_error.h"
#include "llm/http/transport.h"

namespace r2router {
namespace {

/// A text to ask for, and where its embedding goes.
struct Wanted {
  std::string_view text;
  std::span<float> row;
};

using Batch = std::span<const Wanted>;

std::string embeddings_url(std::string_view base_url) {
  while (base_url.ends_with('/')) base_url.remove_suffix(1);
  return std::string(base_url) + (base_url.ends_with("/v1") ? "/embeddings" : "/v1/embeddings");
}

HttpEmbedderOptions checked(const HttpEmbedderOptions& options) {
  const auto refuse = [](const std::string& field, const std::string& found,
                         const std::string& expected) {
    throw Error(ErrorCode::kInvalidArgument,
                "HttpEmbedderOptions::" + field + " is " + found + ", expected " + expected);
  };
  if (options.model.empty() || !is_utf8(options.model)) {
    refuse("model", excerpt(options.model), "the name that the server has for the model, in UTF-8");
  }
  if (options.dimension == 0) refuse("dimension", "0", "the length of the model's embeddings");
  if (options.max_batch_texts == 0) refuse("max_batch_texts", "0", "at least 1");
  if (options.max_concurrency == 0) refuse("max_concurrency", "0", "at least 1");
  return options;
}

void check_utf8(std::span<const std::string_view> texts) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::size_t bad = 0;
    if (is_utf8(texts[i], &bad)) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "texts[" + std::to_string(i) + "] is not UTF-8 at byte " + std::to_string(bad + 1) +
                    ", and a request can carry nothing else: convert it, or replace those bytes");
  }
}

/// What to do about a failure, to be added to what the server or the network says of it.
std::string_view remedy_for(const Failure& failure) {
  switch (failure.code) {
    case ErrorCode::kConnection:
      return "; is an embedding server running there?";
    case ErrorCode::kAuthentication:
      return "; give the key that this server accepts";
    case ErrorCode::kCredit:
      return "; add credit to the account";
    case ErrorCode::kRateLimited:
      return "; call less often, or allow more retries";
    case ErrorCode::kRefused:
      return failure.http_status == 404
                 ? "; check the base URL, and that the server serves this model's embeddings"
                 : "";
    default:
      return "";
  }
}

class HttpEmbedder final : public Embedder {
 public:
  HttpEmbedder(const Endpoint& endpoint, const HttpEmbedderOptions& options)
      : endpoint_(endpoint),
        options_(checked(options)),
        transport_(net::make_transport(endpoint)),
        url_(embeddings_url(endpoint.base_url)) {}

  std::size_t dimension() const override { return options_.dimension; }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token& cancel) const override {
    const std::size_t dimension = options_.dimension;
    internal::check_embed_arguments(texts, out, dimension);
    check_utf8(texts);
    const auto row = [&](std::size_t i) { return out.subspan(i * dimension, dimension); };

    std::unordered_map<std::string_view, std::size_t> places;  // of each text, the first
    std::vector<Wanted> wanted;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (!places.try_emplace(texts[i], i).second) continue;
      if (options_.cache && options_.cache->find(options_.model, texts[i], row(i))) continue;
      wanted.push_back({texts[i], row(i)});
    }
    fetch_all(wanted, cancel);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::size_t first = places.at(texts[i]);
      if (first != i) std::ranges::copy(row(first), row(i).begin());
    }
  }

 private:
  std::vector<Batch> batches_of(std::span<const Wanted> wanted) const {
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

  void fetch_all(std::span<const Wanted> wanted, const std::stop_token& cancel) const {
    const std::vector<Batch> batches = batches_of(wanted);
    const net::Clock::time_point deadline =
        net::Clock::now() +
        std::chrono::duration_cast<net::Clock::duration>(
            std::chrono::duration<double>(std::min(endpoint_.timeouts.total, 1e9)));
    std::stop_source stop;  // the caller's wish, or the failure of one batch, stops them all
    const std::stop_callback forward(cancel, [&stop] { stop.request_stop(); });
    internal::parallel_for(options_.max_concurrency, batches.size(), [&](std::size_t i) {
      const std::optional<Failure> failure = fetch(batches[i], deadline, stop.get_token());
      if (!failure) return;
      // What was stopped because of another batch's failure is not the failure to tell.
      if (failure->code == ErrorCode::kCancelled && !cancel.stop_requested()) return;
      stop.request_stop();
      throw Error(failure->code, failure->message);
    });
  }

  /// Some servers know decimals alone and refuse to be asked for anything else. Once base64 has
  /// been accepted, a refusal has other reasons.
  std::optional<Failure> fetch(Batch batch, net::Clock::time_point deadline,
                               const std::stop_token& cancel) const {
    const Encoding encoding = encoding_;
    std::optional<Failure> failure =
        call(batch, encoding == Encoding::kDecimals ? "float" : "base64", deadline, cancel);
    if (encoding != Encoding::kUnknown) return failure;
    if (!failure) {
      encoding_ = Encoding::kBase64;
    } else if (failure->http_status == 400 || failure->http_status == 422) {
      failure = call(batch, "float", deadline, cancel);
      if (!failure) encoding_ = Encoding::kDecimals;
    }
    return failure;
  }

  /// Asks until there is an answer or no reason to ask again, and writes the rows.
  std::optional<Failure> call(Batch batch, const char* encoding, net::Clock::time_point deadline,
                              const std::stop_token& cancel) const {
    nlohmann::json body = {{"model", options_.model}, {"encoding_format", encoding}};
    for (const Wanted& wanted : batch) body["input"].push_back(wanted.text);
    const net::Request request{.url = url_,
                               .headers = {{"Content-Type", "application/json"}},
                               .body = body.dump(),
                               .deadline = deadline,
                               .cancel = cancel};
    std::optional<Failure> failure;
    std::size_t tries = 0;
    const net::Ended ended = net::with_retries(endpoint_.retry, deadline, cancel, UINT32_MAX, [&] {
      ++tries;
      net::Response response = transport_->send(request);
      failure = read(response, batch);
      // An error that is reported under HTTP 200 is retried as its own status says.
      if (failure) response.status = failure->http_status;
      return net::judge(endpoint_.retry, response);
    });
    if (ended == net::Ended::kCancelled) {
      failure =
          Failure{.code = ErrorCode::kCancelled, .message = "cancelled while waiting to ask again"};
    }
    if (failure) {
      std::string message = url_ + ": " + failure->message;
      if (tries > 1) message += "; asked " + std::to_string(tries) + " times";
      failure->message = message.append(remedy_for(*failure));
    } else if (options_.cache) {
      for (const Wanted& wanted : batch) {
        options_.cache->insert(options_.model, wanted.text, wanted.row);
      }
    }
    return failure;
  }

  /// Writes the rows of an answer, or says why there is none.
  std::optional<Failure> read(const net::Response& response, Batch batch) const {
    if (response.failure) return response.failure;
    const int status = response.status;
    if (status >= 200 && status < 300) {
      std::vector<std::span<float>> rows;
      for (const Wanted& wanted : batch) rows.push_back(wanted.row);
      try {
        if (internal::read_embeddings(response.body, rows)) return std::nullopt;
      } catch (const Error& error) {
        std::string message = error.what();
        const std::string* type = net::find_header(response.headers, "content-type");
        if (type == nullptr || type->find("json") == type->npos) {
          message += "; the answer is not declared as JSON and begins " + quote(response.body) +
                     ": check that the base URL is that of an OpenAI-compatible server";
        }
        return Failure{.code = error.code(), .http_status = status, .message = message};
      }
    }
    if (status >= 300 && status < 400) {
      const std::string* location = net::find_header(response.headers, "location");
      return Failure{.code = ErrorCode::kRefused,
                     .http_status = status,
                     .message = "the server redirects (HTTP " + std::to_string(status) + ") to " +
                                (location == nullptr ? "nowhere" : quote(*location)) +
                                ", where neither the texts nor the key are sent; give the base URL "
                                "of the server that answers itself"};
    }
    const net::ServerError error = net::read_server_error(response.body);
    const int own_status = error.status != 0 ? error.status : status;
    const bool telling = own_status >= 400;
    return Failure{.code = telling ? net::classify(own_status) : ErrorCode::kServer,
                   .http_status = own_status,
                   .message = (telling ? "the server reports error " + std::to_string(own_status)
                                       : "the server reports an error") +
                              (error.words.empty() ? "" : ": " + quote(error.words))};
  }

  /// A server's words. The key goes from all of them before they are cut: a part of it is not to
  /// be seen either.
  std::string quote(std::string_view words) const {
    return excerpt(net::redact(std::string(words), endpoint_.api_key), 300);
  }

  enum class Encoding : std::uint8_t { kUnknown, kBase64, kDecimals };

  const Endpoint endpoint_;
  const HttpEmbedderOptions options_;
  const std::shared_ptr<const net::Transport> transport_;
  const std::string url_;
  mutable std::atomic<Encoding> encoding_ = Encoding::kUnknown;  // what the server has accepted
};

}  // namespace

std::shared_ptr<const Embedder> make_http_embedder(const Endpoint& endpoint,
                                                   const HttpEmbedderOptions& options) {
  return std::make_shared<HttpEmbedder>(endpoint, options);
}

}  // namespace r2router
