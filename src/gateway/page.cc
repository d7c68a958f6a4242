#include "gateway/page.h"

#include <algorithm>
#include <string>
#include <utility>

#include "r2router/settings.h"

#include "gateway/page_files.h"  // written by CMake

namespace r2router::gateway {
namespace {

constexpr std::pair<std::string_view, const char*> kTypes[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".json", "application/schema+json"}};

// Allows only scripts, styles and calls from this server, and no inline ones.
constexpr const char* kContentPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

PageFile file(std::string_view name, std::string_view content) {
  const auto type =
      std::ranges::find_if(kTypes, [&](const auto& entry) { return name.ends_with(entry.first); });
  return {.content = content,
          .headers = {{"content-type", type->second},
                      {"content-security-policy", kContentPolicy},
                      {"x-content-type-options", "nosniff"},
                      {"referrer-policy", "no-referrer"},
                      {"cache-control", "no-cache"}}};
}

}  // namespace

std::optional<PageFile> page_file(std::string_view path) {
  const std::string_view name = path == "/" ? "page.html" : path.substr(1);
  if (name == "policy.schema.json") {
    static const std::string schema = policy_schema();
    return file(name, schema);
  }
  const auto* const found = std::ranges::find(kEmbeddedFiles, name, &EmbeddedFile::name);
  if (found == std::end(kEmbeddedFiles)) return std::nullopt;
  return file(name, found->content);
}

}  // namespace r2router::gateway
