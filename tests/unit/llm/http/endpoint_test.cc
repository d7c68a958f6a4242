#include "llm/http/endpoint.h"

#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"

namespace r2router::llm {
namespace {

using testing::error_of;

template <typename T>
concept Streamable = requires(std::ostream& stream, const T& value) {
  stream << value;
};
static_assert(!Streamable<Secret>);
static_assert(!std::is_convertible_v<Secret, std::string>);

TEST(Secret, CopiesAreEqualAndIndependent) {
  std::optional<Secret> first(std::in_place, "sk-first-key-of-forty-characters-0123456789");
  Secret second(*first);
  Secret third("sk-third");
  third = second;
  third = *&third;  // to itself
  first.reset();
  second = Secret("sk-2");
  EXPECT_EQ(second.reveal(), "sk-2");
  EXPECT_EQ(third.reveal(), "sk-first-key-of-forty-characters-0123456789");
  EXPECT_TRUE(Secret().empty());
  EXPECT_FALSE(second.empty());
}

// A short key lies within the object itself, where it can still be looked at.
TEST(Secret, IsOverwrittenWhenItGoes) {
  alignas(Secret) unsigned char memory[sizeof(Secret)] = {};
  const auto holds_key = [&memory] {
    return std::string_view(reinterpret_cast<const char*>(memory), sizeof memory).find("sk-123") !=
           std::string_view::npos;
  };
  auto* secret = new (memory) Secret("sk-123456");
  ASSERT_TRUE(holds_key()) << "this library keeps short strings elsewhere";
  *secret = Secret("x");
  EXPECT_FALSE(holds_key()) << "after an assignment";
  *secret = Secret("sk-123456");
  secret->~Secret();
  EXPECT_FALSE(holds_key()) << "after its destruction";
}

TEST(Secret, RefusesWhatNoHeaderCanHoldWithoutShowingIt) {
  for (const std::string& bad : {std::string("sk-secret\n"), std::string("sk-\rsecret"),
                                 std::string("sk-\0secret", 10), std::string("sk-secret\x7F")}) {
    const Error error = error_of([&] { Secret{bad}; });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("control character"));
    EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("secret")));
  }
  EXPECT_EQ(Secret("clé").reveal(), "clé");
}

TEST(ApiKey, ComesFromTheEnvironment) {
  const char* const before = std::getenv("OPENROUTER_API_KEY");
  const std::optional<std::string> kept =
      before ? std::optional<std::string>(before) : std::nullopt;
  ::setenv("OPENROUTER_API_KEY", "sk-of-the-environment", 1);
  EXPECT_EQ(api_key_from_environment().reveal(), "sk-of-the-environment");
  ::unsetenv("OPENROUTER_API_KEY");
  EXPECT_TRUE(api_key_from_environment().empty());
  if (kept) ::setenv("OPENROUTER_API_KEY", kept->c_str(), 1);
}

}  // namespace
}  // namespace r2router::llm

namespace r2router::llm {
namespace {

TEST(BaseUrl, PutsAPathBetweenAddressAndQuery) {
  const auto expect = [](const std::string& base, const std::string& url) {
    EXPECT_EQ(BaseUrl(base).with("/models"), url) << base;
  };
  expect("http://host", "http://host/models");
  expect("http://host/v1//", "http://host/v1/models");
  expect(" \t\n\u00A0https://host/v1/ \r\n", "https://host/v1/models");
  expect("https://host/v1?api-version=2024-02-01", "https://host/v1/models?api-version=2024-02-01");
  expect("https://host/v1/?a=1&b=/x/?", "https://host/v1/models?a=1&b=/x/?");
  expect("https://host?", "https://host/models");
  expect("HTTPS://Host.Example/V1 ", "HTTPS://Host.Example/V1/models");
  EXPECT_EQ(BaseUrl("http://host/v1/?key=sk").address, "http://host/v1");
}

TEST(Redact, BlotsOutEveryCopyOfAKey) {
  const std::string key = "sk-or-v1-8d1f0c35";
  const auto redacted = [&](const std::string& text) { return redact(text, Secret(key)); };
  EXPECT_EQ(redacted("a " + key + key + " b " + key), "a [key][key] b [key]");
  EXPECT_EQ(redacted("nothing"), "nothing");
  EXPECT_EQ(redacted("Bearer%20" + key + "&x=key:" + key + "xyz"), "Bearer%20[key]&x=key:[key]xyz");
  EXPECT_EQ(redacted("sk-or-v1-8d1f0c3"), "sk-or-v1-8d1f0c3") << "another key";
  EXPECT_EQ(redact("nothing", Secret()), "nothing");
}

TEST(Redact, KnowsAKeyWhoseCharactersAreEscaped) {
  const Secret key("ab/c+d=1\"2");
  for (const std::string spelling :
       {"ab/c+d=1\"2", "ab%2Fc%2Bd%3D1%222", "ab%2fc%2bd%3d1%222", "ab\\/c+d=1\\\"2",
        "ab\\u002fc\\u002Bd=1\\u00222", "%61%62/c+d=1%222"}) {
    EXPECT_EQ(redact("key: " + spelling + ".", key), "key: [key].") << spelling;
  }
}

TEST(Redact, LeavesWordsAlone) {
  // Many servers want any key at all, and get one like these.
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"1", "error 1 in 10 of 21: 1"},
      {"EMPTY", "the EMPTY response is EMPTY: EMPTYING"},
      {"sk-1234", "found sk-1234 and sk-12345"},
      {"embedding", "no embeddings: is pre-embedding on?"},
      {"not-needed", "unnot-needed not-neededs not-needed_1"}};
  for (const auto& [key, text] : cases) EXPECT_EQ(redact(text, Secret(key)), text) << key;
  // Where the key is sent, and where a long one is by itself, it is not a word.
  for (const std::string key : {"1", "EMPTY", "sk-1234", "not-needed", "sk-or-v1-8d1f0c35"}) {
    EXPECT_EQ(redact("Authorization: Bearer " + key + ", Bearer " + key + "0!", Secret(key)),
              key.size() < 11 ? "Authorization: Bearer [key], Bearer " + key + "0!"
                              : "Authorization: Bearer [key], Bearer [key]0!");
    EXPECT_EQ(redact("bearer%20" + key + "&BEARER+" + key, Secret(key)),
              "bearer%20[key]&BEARER+[key]");
  }
  EXPECT_EQ(redact("your key \"not-needed\" (not-needed)", Secret("not-needed")),
            "your key \"[key]\" ([key])");
}

}  // namespace
}  // namespace r2router::llm
