#include "r2router/endpoint.h"

#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>

#include <gtest/gtest.h>

#include "support/errors.h"

namespace r2router {
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
}  // namespace r2router
