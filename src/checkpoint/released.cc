#include "checkpoint/released.h"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <set>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"
#include "checkpoint/joblib.h"

namespace r2router::io {
namespace {

/// A file's bytes, and the parsed heads, which point into them.
struct HeadsFile {
  explicit HeadsFile(const std::string& path) : file(path), regressors(file.bytes(), path) {}

  MappedFile file;
  RegressorFile regressors;
};

/// A head, and the file that contains it.
struct Source {
  const RegressorFile* file;
  const Regressor* head;
};

/// "300_score" -> 300.
Budget parse_key(const RegressorFile& file, const Regressor& head) {
  constexpr std::string_view kSuffix = "_score";
  std::uint32_t tokens = 0;
  // from_chars() accepts leading zeros, which would give two keys for one budget.
  if (head.key.ends_with(kSuffix) && !head.key.starts_with('0')) {
    const char* const end = head.key.data() + head.key.size() - kSuffix.size();
    const auto [stop, error] = std::from_chars(head.key.data(), end, tokens);
    if (error == std::errc{} && stop == end && tokens < UINT32_MAX) return Budget(tokens);
  }
  file.refuse(head,
              "its key names no budget; expected a positive number of tokens and \"_score\", such "
              "as \"300_score\". Rename the key.");
}

/// The missing files as a list for a message; empty if none is missing.
std::string missing_files(const std::string& folder, const std::string& checkpoint_dir) {
  std::string missing;
  for (const std::string_view name : kReleasedFiles) {
    const std::string path = released_path(folder, checkpoint_dir, name);
    std::error_code error;  // other errors are reported by the reader
    if (std::filesystem::status(path, error).type() != std::filesystem::file_type::not_found) {
      continue;
    }
    missing += (missing.empty() ? "" : ", ") + path;
  }
  return missing;
}

/// Removes models that lack a file.
void drop_incomplete_models(const std::string& folder, Config& config, const LogCallback& log) {
  Pool models;
  std::vector<std::string> checkpoint_dirs;
  for (std::size_t i = 0; i < config.models.size(); ++i) {
    const std::string missing = missing_files(folder, config.checkpoint_dirs[i]);
    if (missing.empty()) {
      models.push_back(std::move(config.models[i]));
      checkpoint_dirs.push_back(std::move(config.checkpoint_dirs[i]));
    } else if (log) {
      log(LogLevel::kWarning, "model " + config.models[i].name +
                                  " is skipped, since these files do not exist: " + missing);
    }
  }
  if (models.empty()) {
    throw Error(ErrorCode::kNotFound,
                "none of the config's models has its three files (" +
                    std::string(kReleasedFiles[0]) + ", " + std::string(kReleasedFiles[1]) + ", " +
                    std::string(kReleasedFiles[2]) +
                    ") in the folder checkpoints/<checkpoint_dir>. Download the whole checkpoint.",
                {.file = folder});
  }
  config.models = std::move(models);
  config.checkpoint_dirs = std::move(checkpoint_dirs);
}

template <class Float>
std::vector<Float> copy_weights(const std::vector<Source>& sources, std::size_t dimension) {
  std::vector<Float> weights(sources.size() * dimension);
  std::span<Float> rest = weights;  // rows not filled yet
  for (const Source& source : sources) {
    source.file->copy_coefficients(*source.head, rest.first(dimension));
    rest = rest.subspan(dimension);
  }
  return weights;
}

}  // namespace

std::string released_path(const std::string& folder, const std::string& checkpoint_dir,
                          std::string_view file) {
  return folder + "/checkpoints/" + checkpoint_dir + "/" + std::string(file);
}

std::optional<std::string> find_released_folder() {
  for (const std::filesystem::path folder : {"r2_router", "."}) {
    std::error_code ignored;  // what cannot be read is not there
    if (std::filesystem::is_regular_file(folder / "config.json", ignored) &&
        std::filesystem::is_directory(folder / "checkpoints", ignored)) {
      return std::filesystem::absolute(folder).lexically_normal().string();
    }
  }
  return {};
}

Checkpoint load_released(const std::string& folder, Config config, const LogCallback& log) {
  if (config.checkpoint_dirs.size() != config.models.size()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "the config has " + std::to_string(config.models.size()) + " models and " +
            std::to_string(config.checkpoint_dirs.size()) +
            " checkpoint_dirs; expected one for each model. Pass what parse_config() gave.");
  }
  drop_incomplete_models(folder, config, log);

  Checkpoint checkpoint;
  LinearHeads& heads = checkpoint.predictor.emplace<LinearHeads>();
  heads.dimension = config.embedding_dim;
  std::deque<HeadsFile> files;  // a deque, since `sources` points into its elements
  std::vector<Source> sources;  // one for each of heads.names
  bool all_float32 = true;

  const auto add = [&](const RegressorFile& file, const Regressor& head, HeadName name) {
    if (head.size() != heads.dimension) {
      file.refuse(head, "it has " + std::to_string(head.size()) +
                            " coefficients; the config's embedding_dim is " +
                            std::to_string(heads.dimension) +
                            ". Correct the config or put the right file here.");
    }
    heads.names.push_back(name);
    heads.intercepts.push_back(head.intercept);
    sources.push_back({&file, &head});
    all_float32 &= !head.is_float64();
  };

  for (std::uint32_t model = 0; model < config.models.size(); ++model) {
    const auto open = [&](std::size_t i, bool is_dict) -> const RegressorFile& {
      const std::string path =
          released_path(folder, config.checkpoint_dirs[model], kReleasedFiles[i]);
      const RegressorFile& file = files.emplace_back(path).regressors;
      if (file.is_dict() != is_dict) {
        throw Error(ErrorCode::kBadCheckpoint,
                    std::string("the file holds ") +
                        (is_dict ? "a single regressor; expected a dict of them, a budget each."
                                 : "a dict of regressors; expected a single one.") +
                        " Put the right file here.",
                    {.file = path});
      }
      return file;
    };
    const RegressorFile& limited = open(0, true);
    std::set<Budget> seen;
    for (const Regressor& head : limited.heads()) {
      const Budget budget = parse_key(limited, head);
      if (!seen.insert(budget).second) {
        limited.refuse(head, "its budget occurs twice in the file. Remove one of the two.");
      }
      add(limited, head, {{model, budget}, Target::kQuality});
    }
    const RegressorFile& score = open(1, false);
    add(score, score.heads()[0], {{model, Budget::unlimited()}, Target::kQuality});
    const RegressorFile& tokens = open(2, false);
    add(tokens, tokens.heads()[0], {{model, Budget::unlimited()}, Target::kTokens});
  }

  // The precision that keeps every coefficient exact is known only now. Copy once.
  if (all_float32) {
    heads.weights = copy_weights<float>(sources, heads.dimension);
  } else {
    heads.weights = copy_weights<double>(sources, heads.dimension);
  }
  checkpoint.config = std::move(config);
  return checkpoint;
}

}  // namespace r2router::io
