// Numbers as people read them.
const significant = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const number = (value) => significant.format(value);
// null is how JSON writes the cost of a model whose price is unknown.
export const usd = (amount) =>
  amount === null ? "unknown" : amount < 0 ? `−$${number(-amount)}` : `$${number(amount)}`;
export const percent = (share) => `${number(share * 100)}%`;
export const count = (value) => whole.format(value);
export const budget = (option) => (option.budget === "unlimited" ? option.budget : count(option.budget));
export const budgetText = (option) =>
  option.budget === "unlimited" ? "unlimited budget" : `budget ${budget(option)}`;
