#include "r2router/capability.h"

#include <gtest/gtest.h>

namespace r2router {
namespace {

TEST(Capabilities, HaveNames) {
  for (std::size_t i = 0; i < kCapabilities; ++i) {
    const auto capability = static_cast<Capability>(i);
    EXPECT_EQ(find_capability(to_string(capability)), capability);
  }
  EXPECT_EQ(to_string(Capability::kJsonSchema), "json_schema");
  EXPECT_FALSE(find_capability("vision"));
  EXPECT_FALSE(find_capability(""));
  EXPECT_FALSE(find_capability("Tools"));
}

TEST(Capabilities, AreASet) {
  Capabilities set{Capability::kTools, Capability::kReasoning};
  EXPECT_TRUE(set.has(Capability::kTools));
  EXPECT_FALSE(set.has(Capability::kImages));
  EXPECT_TRUE(set.includes({}));
  EXPECT_TRUE(set.includes(set));
  EXPECT_TRUE(set.includes({Capability::kReasoning}));
  EXPECT_FALSE(set.includes({Capability::kReasoning, Capability::kAudio}));
  EXPECT_TRUE(Capabilities().empty());
  set.add(Capability::kImages);
  EXPECT_EQ(set, (Capabilities{Capability::kReasoning, Capability::kImages, Capability::kTools}));
}

}  // namespace
}  // namespace r2router
