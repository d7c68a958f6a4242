#include "base/edit_distance.h"

#include <gtest/gtest.h>

namespace r2router {
namespace {

using internal::edit_distance;

TEST(EditDistance, CountsEditsOfEachKind) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("router", "router"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("router", "routers"), 1u);
  EXPECT_EQ(edit_distance("router", "rooter"), 1u);
  EXPECT_EQ(edit_distance("router", "ruoter"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);  // a pair that was swapped is not edited again
}

}  // namespace
}  // namespace r2router
