#include "gateway/spending/report.h"

#include "base/date.h"
#include "base/json_writer.h"

namespace r2router::gateway {
namespace {

void write(ObjectWriter& object, const Spend& spend) {
  object.raw("settled_usd", spend.settled.decimal());
  object.raw("unsettled_usd", spend.unsettled.decimal());
  if (spend.baseline != Money{}) {
    object.raw("baseline_usd", spend.baseline.decimal());
    object.raw("saved_usd", (spend.baseline - spend.compared).decimal());
  }
  object.number("requests", spend.requests);
  object.number("input_tokens", spend.input_tokens);
  object.number("cached_tokens", spend.cached_tokens);
  object.number("cache_write_tokens", spend.cache_write_tokens);
  object.number("output_tokens", spend.output_tokens);
  object.number("reasoning_tokens", spend.reasoning_tokens);
}

}  // namespace

Spend& Spend::operator+=(const Spend& other) {
  settled += other.settled;
  unsettled += other.unsettled;
  baseline += other.baseline;
  compared += other.compared;
  requests += other.requests;
  input_tokens += other.input_tokens;
  cached_tokens += other.cached_tokens;
  cache_write_tokens += other.cache_write_tokens;
  output_tokens += other.output_tokens;
  reasoning_tokens += other.reasoning_tokens;
  return *this;
}

std::string to_json(const SpendReport& report) {
  const SpendQuery& query = report.query;
  std::string json;
  ObjectWriter object(json);
  object.text("from", internal::date_text(query.from));
  object.text("to", internal::date_text(query.to));
  if (query.key) object.text("key", *query.key);
  object.list("rows", report.rows, [&](ObjectWriter& entry, const SpendRow& row) {
    if (row.day) entry.text("day", internal::date_text(*row.day));
    if (query.by_key) entry.text("key", row.key);
    if (query.by_model) entry.text_or_null("model", row.model);
    if (query.by_tag) entry.text_or_null("tag", row.tag);
    write(entry, row.spend);
  });
  object.object("total", [&](ObjectWriter& total) { write(total, report.total); });
  object.close();
  return json;
}

}  // namespace r2router::gateway
