// Random JSON texts in all the forms that the grammar allows.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace r2router::gateway::testing {

class RandomJson {
 public:
  explicit RandomJson(unsigned seed) : random_(seed) {}

  /// Below `bound`.
  unsigned number(unsigned bound) { return static_cast<unsigned>(random_() % bound); }

  std::string value(int depth) {
    switch (number(depth > 0 ? 8 : 5)) {
      case 0:
        return one_of({"null", "true", "false"});
      case 1:
      case 2:
        return one_of({"0", "-0", "1", "1.0", "1.50", "-3e2", "1E+2", "0.1", "123456789012345678",
                       "1e-7", "9007199254740993"});
      case 5:
      case 6:
        return object(depth - 1);
      case 7:
        return array(depth - 1);
      default:
        return string();
    }
  }

  /// Names are unique: they are numbered.
  std::string object(int depth) {
    std::string text = "{" + space();
    const unsigned size = number(6);
    for (unsigned i = 0; i < size; ++i) {
      if (i > 0) text += "," + space();
      text += "\"" + one_of({"a", "model", "max_tok\\u0065ns", "é", "", "\\\"\\\\", "type"}) +
              std::to_string(i) + "\"" + space() + ":" + space() + value(depth) + space();
    }
    return text + "}";
  }

  std::string array(int depth) {
    std::string text = "[" + space();
    const unsigned size = number(5);
    for (unsigned i = 0; i < size; ++i) text += (i > 0 ? "," + space() : "") + value(depth);
    return text + space() + "]";
  }

  std::string string() {
    std::string text = "\"";
    for (unsigned size = number(6); size > 0; --size) {
      text += one_of({"a", "word ", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d\\ude00", "é", "😀",
                      "{", "]", ",", "\\/", "\x7F"});
    }
    return text + "\"";
  }

  std::string space() { return one_of({"", "", "", " ", "\n  ", "\t", "\r\n"}); }

  std::string one_of(const std::vector<std::string>& texts) {
    return texts[number(static_cast<unsigned>(texts.size()))];
  }

 private:
  std::mt19937 random_;
};

}  // namespace r2router::gateway::testing
