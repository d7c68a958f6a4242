#include "r2router/llm/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/router.h"

#include "base/usd.h"
#include "llm/fallback.h"
#include "pool/prices.h"

namespace r2router::llm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Clock::time_point after(double seconds) {
  // A time point in integer nanoseconds overflows after 292 years.
  constexpr double kYear = 366 * 24 * 3600;
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(std::min(seconds, kYear)));
}

/// Failed because reasoning used up the cap, which another effort may not do.
bool ran_out_of_tokens(const Completion& completion) {
  return completion.failure->code == ErrorCode::kBudget && completion.empty_after_reasoning;
}

bool worth_a_fallback(const Completion& completion) {
  if (!completion.text.empty()) return false;
  return another_model_may_answer(completion.failure->code) || ran_out_of_tokens(completion);
}

/// The messages with the model's instruction and its budget. Uses a single system message, since
/// many chat templates reject a second.
std::vector<Message> with_instructions(std::span<const Message> messages, const ModelSpec& model,
                                       std::string_view budget_prompt, Budget budget) {
  std::vector<Message> all(messages.begin(), messages.end());
  const std::string about_budget = budget_instruction(budget_prompt, budget);
  std::string instruction = model.instruction;
  if (!instruction.empty() && !about_budget.empty()) instruction += "\n\n";
  instruction += about_budget;
  if (instruction.empty()) return all;
  if (all.front().role == "system") {
    all.front().content = instruction + "\n\n" + all.front().content;
  } else {
    all.insert(all.begin(), {.role = "system", .content = std::move(instruction)});
  }
  return all;
}

/// State of one generate(): the models tried so far, and their possible cost.
class Generation {
 public:
  Generation(const Client& client, const Decision& decision, const GenerateOptions& options)
      : client_(client),
        decision_(decision),
        options_(options),
        deadline_(after(options.timeout.value_or(client.default_timeout()))),
        rest_usd_(decision.max_cost_usd.value_or(kInfinity)),
        tried_(decision.pool->size()) {}

  Completion run(std::span<const Message> messages, std::string_view budget_prompt) {
    const Clock::time_point start = Clock::now();
    std::vector<Attempt> attempts;
    const Option* option = &decision_.chosen;
    Completion completion;
    for (std::uint32_t fallbacks_left = options_.max_fallbacks;; --fallbacks_left) {
      completion =
          ask(*option, with_instructions(messages, model(*option), budget_prompt, option->budget),
              fallbacks_left);
      std::ranges::move(completion.attempts, std::back_inserter(attempts));
      if (completion.ok() || fallbacks_left == 0 || !worth_a_fallback(completion) ||
          Clock::now() >= deadline_) {
        break;
      }
      leave_out(*option, ran_out_of_tokens(completion));
      option = next_option(completion);
      if (option == nullptr) break;
    }
    completion.attempts = std::move(attempts);
    completion.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return completion;
  }

 private:
  const ModelSpec& model(const Option& option) const { return decision_.model(option); }

  /// Worst-case cost in USD of an answer by the option's model under another cap.
  double worst_case_cost(const Option& option, std::uint32_t max_tokens) const {
    const std::int64_t most_input =
        internal::most_input_tokens(model(option), decision_.max_input_tokens);
    return internal::worst_case_cost(model(option).prices, most_input, decision_.images,
                                     max_tokens);
  }

  /// How many answers of this cost the remaining budget covers.
  std::uint32_t affordable(double cost_usd) const {
    const double most = std::numeric_limits<std::uint32_t>::max();
    if (rest_usd_ == kInfinity || cost_usd <= 0) return static_cast<std::uint32_t>(most);
    // The quotient may have been rounded up.
    double count = std::floor(rest_usd_ / cost_usd);
    if (count * cost_usd > rest_usd_) --count;
    return static_cast<std::uint32_t>(std::min(count, most));
  }

  bool can_be_tried(const Option& option) const {
    return !tried_[option.model] && model(option).available && !model(option).openrouter_id.empty();
  }

  /// Marks every pool entry of the option's model, with any instruction, and of its family.
  void mark_model(const Option& option, std::vector<bool>& marks) const {
    const ModelSpec& named = model(option);
    for (std::size_t i = 0; i < marks.size(); ++i) {
      const ModelSpec& other = (*decision_.pool)[i];
      if (other.openrouter_id == named.openrouter_id || in_one_family(other, named)) {
        marks[i] = true;
      }
    }
  }

  static bool in_one_family(const ModelSpec& a, const ModelSpec& b) {
    return !a.family.empty() && a.family == b.family;
  }

  /// Marks as tried what can be expected to fail like the option: its model and its family. If the
  /// failure is one of its settings, entries of the family with another request are not marked.
  void leave_out(const Option& option, bool of_settings) {
    std::vector<bool> marks(tried_.size());
    mark_model(option, marks);
    for (std::size_t i = 0; i < marks.size(); ++i) {
      const ModelSpec& other = (*decision_.pool)[i];
      const bool other_settings = of_settings && in_one_family(other, model(option)) &&
                                  other.request != model(option).request;
      if (marks[i] && !other_settings) tried_[i] = true;
    }
  }

  /// The best pair of an untried model within the remaining cost limit, or null.
  const Option* next_option(Completion& last) const {
    const Option* too_dear = nullptr;
    for (const Option& option : decision_.ranking) {
      if (!can_be_tried(option)) continue;
      if (affordable(option.worst_case_cost_usd) > 0) return &option;
      if (too_dear == nullptr) too_dear = &option;
    }
    if (too_dear != nullptr) {
      last.failure->message += "; of the cost limit of " + usd_text(*decision_.max_cost_usd) +
                               " not enough is left to try " + model(*too_dear).name;
    }
    return nullptr;
  }

  /// The best options of other models that the provider may try instead of `option`: those with the
  /// same request.
  std::vector<const Option*> provider_fallbacks(const Option& option, std::uint32_t most) const {
    std::vector<const Option*> named;
    std::vector<bool> skip = tried_;
    mark_model(option, skip);
    for (const Option& other : decision_.ranking) {
      if (named.size() == most) break;
      if (skip[other.model] || !can_be_tried(other) ||
          model(other).instruction != model(option).instruction ||
          model(other).omit != model(option).omit ||
          model(other).request != model(option).request ||
          model(other).endpoint != model(option).endpoint ||
          model(other).max_output_tokens.value_or(option.max_tokens) < option.max_tokens ||
          affordable(worst_case_cost(other, option.max_tokens)) == 0) {
        continue;
      }
      mark_model(other, skip);
      named.push_back(&other);
    }
    return named;
  }

  Completion ask(const Option& option, std::vector<Message> messages,
                 std::uint32_t fallbacks_left) {
    tried_[option.model] = true;
    ChatRequest request{.model = model(option).openrouter_id,
                        .messages = std::move(messages),
                        .max_tokens = option.max_tokens,
                        .temperature = options_.temperature,
                        .omit = model(option).omit,
                        .extra = model(option).request,
                        .split_thinking = options_.split_thinking};
    std::vector<const Option*> named = {&option};
    double worst_case_usd = option.worst_case_cost_usd;
    if (options_.provider_fallback) {
      for (const Option* other : provider_fallbacks(option, fallbacks_left)) {
        request.fallback_models.push_back(model(*other).openrouter_id);
        named.push_back(other);
        worst_case_usd = std::max(worst_case_usd, worst_case_cost(*other, option.max_tokens));
      }
    }
    const std::uint32_t max_charges = affordable(worst_case_usd);
    if (max_charges == 0) return too_dear(option, request.model);

    Completion completion = client_.complete(request, {.deadline = deadline_,
                                                       .on_text = options_.on_text,
                                                       .cancel = options_.cancel,
                                                       .max_charges = max_charges});
    completion.pair = {option.model, option.budget};
    const auto served = std::ranges::find(named, completion.served_model,
                                          [&](const Option* o) { return model(*o).openrouter_id; });
    const Prices& prices = model(served == named.end() ? option : **served).prices;
    if (completion.usage) {
      completion.computed_usd = internal::charge(prices, *completion.usage, decision_.images);
    }
    for (Attempt& attempt : completion.attempts) {
      attempt.pair = completion.pair;
      // Only the last attempt can have an answer. Servers need not report cached tokens, so the
      // actual bill may be higher than the computed one.
      double most_usd = attempt.cost_usd.value_or(worst_case_usd);
      if (completion.usage && !attempt.cost_usd && &attempt == &completion.attempts.back()) {
        attempt.cost_usd = completion.computed_usd;
        most_usd =
            internal::worst_case_cost(prices, completion.usage->prompt_tokens, decision_.images,
                                      static_cast<double>(completion.usage->completion_tokens));
      }
      rest_usd_ = std::max(0.0, rest_usd_ - most_usd);
    }
    return completion;
  }

  Completion too_dear(const Option& option, const std::string& requested_model) const {
    return {
        .failure = Failure{.code = ErrorCode::kBudget,
                           .message = "an answer by " + model(option).name + " may cost " +
                                      usd_text(option.worst_case_cost_usd) +
                                      ", the cost limit is " + usd_text(*decision_.max_cost_usd) +
                                      ": decide within that limit, or raise it"},
        .pair = {option.model, option.budget},
        .requested_model = requested_model};
  }

  const Client& client_;
  const Decision& decision_;
  const GenerateOptions& options_;
  const Clock::time_point deadline_;
  double rest_usd_;  ///< remaining cost limit, if every unknown outcome is fully charged
  std::vector<bool> tried_;
};

[[noreturn]] void reject(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

}  // namespace

std::string budget_instruction(std::string_view budget_prompt, Budget budget) {
  std::string instruction;
  if (budget.is_unlimited()) return instruction;
  constexpr std::string_view kPlace = "{budget}";
  for (std::size_t place; (place = budget_prompt.find(kPlace)) != std::string_view::npos;) {
    instruction += budget_prompt.substr(0, place);
    instruction += budget.to_string();
    budget_prompt.remove_prefix(place + kPlace.size());
  }
  return instruction += budget_prompt;
}

void set_cap(Decision& decision, std::uint32_t max_tokens) {
  const ModelSpec& model = decision.model();
  const std::int64_t most_input = internal::most_input_tokens(model, decision.max_input_tokens);
  decision.chosen.max_tokens = max_tokens;
  decision.chosen.worst_case_cost_usd =
      internal::worst_case_cost(model.prices, most_input, decision.images, max_tokens);
}

Completion generate(const Client& client, std::span<const Message> messages,
                    const Decision& decision, std::string_view budget_prompt,
                    const GenerateOptions& options) {
  if (messages.empty()) reject("there are no messages: expected at least the query");
  if (decision.pool == nullptr || decision.chosen.model >= decision.pool->size() ||
      decision.chosen.max_tokens == 0) {
    reject("the decision names no model or has no token cap: expected a decision of a router");
  }
  if (decision.model().openrouter_id.empty()) {
    reject("the model \"" + decision.model().name +
           "\" has no catalogue name: add its openrouter_id to the checkpoint's config.json, or "
           "deny the model");
  }
  if (options.timeout && !(*options.timeout > 0)) {
    reject("timeout is " + std::to_string(*options.timeout) + ": expected seconds above 0");
  }
  return Generation(client, decision, options).run(messages, budget_prompt);
}

Completion generate(const Client& client, const Router& router, std::string_view query,
                    const Decision& decision, const GenerateOptions& options) {
  const Message message{.role = "user", .content = std::string(query)};
  return generate(client, router, std::span(&message, 1), decision, options);
}

Completion generate(const Client& client, const Router& router, std::span<const Message> messages,
                    const Decision& decision, const GenerateOptions& options) {
  return generate(client, messages, decision, router.config().budget_prompt, options);
}

}  // namespace r2router::llm
