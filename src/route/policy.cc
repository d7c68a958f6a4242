#include "r2router/policy.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "r2router/error.h"
#include "r2router/settings.h"

#include "base/edit_distance.h"
#include "base/excerpt.h"
#include "base/file.h"
#include "base/json.h"
#include "route/settings.h"

namespace r2router {
namespace {

using io::Json;
using io::JsonDocument;
using io::JsonView;

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxPolicyBytes = 1 << 20;
constexpr const char* kPolicySuffix = ".json";

/// `group`: the enclosing objects, each followed by a dot.
void read_member(const std::string& group, std::string_view name, const JsonView& value,
                 Policy& policy) {
  const std::string full = group + std::string(name);
  const Setting* setting = name.find('.') == name.npos ? find_setting(full) : nullptr;
  if (setting != nullptr) {
    const auto given = value.plain();
    if (!given || !assign(*setting, *given, policy)) value.fail(setting->expected());
  } else if (is_group(full)) {
    for (const auto& [member, of_member] : value.members()) {
      read_member(full + ".", member, of_member, policy);
    }
  } else {
    // Unlike unknown fields of a checkpoint, which are ignored: ignoring a constraint would violate
    // it.
    value.fail_with("there is no such setting; did you mean \"" +
                    std::string(internal::nearest(full, keys_in(group))) + "\"?");
  }
}

bool is_policy_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  return !name.empty() && name.find_first_not_of(kAllowed) == name.npos;
}

fs::path policies_folder(const std::string& checkpoint_folder) {
  return fs::path(checkpoint_folder) / "policies";
}

/// The names of the policies in a checkpoint's folder.
std::vector<std::string> policy_names(const std::string& checkpoint_folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (fs::directory_iterator entry(policies_folder(checkpoint_folder), none), end;
       !none && entry != end; entry.increment(none)) {
    const fs::path file = entry->path().filename();
    if (file.extension() == kPolicySuffix && is_policy_name(file.stem().string())) {
      names.push_back(file.stem().string());
    }
  }
  return names;
}

}  // namespace

Policy parse_policy(std::string_view json, const std::string& file) {
  const JsonDocument document(json, file, ErrorCode::kBadConfig);
  Policy policy;
  for (const auto& [name, value] : document.root().members("a policy: a JSON object")) {
    if (name == "calibration") {
      value.members();
    } else {
      read_member("", name, value, policy);
    }
  }
  return policy;
}

Policy load_policy(const std::string& path) {
  return parse_policy(io::read_text(path, kMaxPolicyBytes, ErrorCode::kBadConfig), path);
}

std::string named_policy_path(std::string_view name, const std::string& checkpoint_folder) {
  if (!is_policy_name(name)) {
    throw Error(ErrorCode::kInvalidArgument,
                "the policy's name is " + excerpt(name) +
                    ": expected letters, digits, - and _, at least one of them");
  }
  return (policies_folder(checkpoint_folder) / name).string() + kPolicySuffix;
}

std::string find_policy(const std::string& policy, const std::string& checkpoint_folder) {
  std::error_code ignored;  // what cannot be read counts as missing
  const fs::file_status status = fs::status(policy, ignored);
  if (fs::exists(status) && !fs::is_directory(status)) return policy;
  if (checkpoint_folder.empty()) {
    throw Error(ErrorCode::kNotFound, "there is no such file; expected a policy's",
                {.file = policy});
  }
  if (is_policy_name(policy)) {
    const std::string path = named_policy_path(policy, checkpoint_folder);
    if (fs::exists(path, ignored)) return path;
  }
  std::vector<std::string> names = policy_names(checkpoint_folder);
  std::ranges::sort(names, {}, [&](const std::string& name) {
    return std::pair(internal::edit_distance(policy, name), name);
  });
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? " " : ", ") + name;
  throw Error(ErrorCode::kNotFound,
              "expected the path of a policy file or the name of one in " +
                  policies_folder(checkpoint_folder).string() +
                  (known.empty() ? ", which has none" : "; there are:" + known),
              {.file = policy});
}

std::string to_json(const Policy& policy) {
  try {
    return policy_json(policy).dump(2) + "\n";
  } catch (const Json::exception&) {
    throw Error(ErrorCode::kInvalidArgument,
                "a model's name in the policy is not UTF-8, which JSON requires; re-encode it");
  }
}

}  // namespace r2router
