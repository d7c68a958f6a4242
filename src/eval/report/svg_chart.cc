#include "eval/report/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "base/unicode.h"

namespace r2router::eval::report {
namespace {

constexpr double kLeft = 58, kTop = 12, kBottom = 46;  // margins
constexpr double kLetter = 6.4;                        // mean width of a character of height 12
constexpr double kLine = 14;                           // from one line of text to the next

constexpr std::array<std::string_view, 8> kColors = {"#000000", "#0072b2", "#d55e00", "#009e73",
                                                     "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"};

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string tick_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// A truncated name is usually still unique.
std::string shortened(std::string_view name) {
  constexpr std::size_t kMost = 32;
  if (name.size() <= kMost) return std::string(name);
  std::size_t end = kMost - 1;
  while (end > 0 && is_continuation(name[end])) --end;  // inside UTF-8
  return std::string(name.substr(0, end)) + "…";
}

double width_of(std::string_view name) {
  const auto letters =
      std::count_if(name.begin(), name.end(), [](char c) { return !is_continuation(c); });
  return kLetter * static_cast<double>(letters);
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view color,
                    std::string_view text) {
  std::string result = "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"";
  result.append(anchor).append("\" fill=\"").append(color).append("\">");
  return result + escape_markup(text) + "</text>\n";
}

std::string path(const std::vector<ChartPoint>& points) {
  std::string result;
  for (const ChartPoint& point : points) {
    result += result.empty() ? 'M' : 'L';
    result += number(point.x) + "," + number(point.y);
  }
  return result;
}

/// Round numbers from low to high.
std::vector<double> tick_values(const Axis& axis) {
  std::vector<double> values;
  if (axis.logarithmic) {
    const bool few = std::log10(axis.high / axis.low) > 2.5;
    for (int exponent = -12; exponent <= 12; ++exponent) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double value = factor * std::pow(10.0, exponent);
        if (few && factor != 1) continue;
        if (value >= axis.low * 0.999 && value <= axis.high * 1.001) values.push_back(value);
      }
    }
    return values;
  }
  double step = std::pow(10.0, std::floor(std::log10((axis.high - axis.low) / 4)));
  for (const double factor : {2.0, 2.5, 2.0}) {
    if ((axis.high - axis.low) / step > 7) step *= factor;
  }
  for (double i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high + 1e-9 * step; ++i) {
    values.push_back(std::abs(i) < 1e-9 ? 0 : i * step);
  }
  return values;
}

}  // namespace

std::string escape_markup(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::string_view next = text.substr(i, 3);
    // U+202A to U+202E and U+2066 to U+2069.
    const bool turns = next.size() == 3 &&
                       ((next.starts_with("\xE2\x80") && next[2] >= '\xAA' && next[2] <= '\xAE') ||
                        (next.starts_with("\xE2\x81") && next[2] >= '\xA6' && next[2] <= '\xA9'));
    if (turns) {
      result += kReplacement;
      i += 2;
    } else if (byte < 0x20 || byte == 0x7F) {
      result += kReplacement;
    } else if (text[i] == '&') {
      result += "&amp;";
    } else if (text[i] == '<') {
      result += "&lt;";
    } else if (text[i] == '>') {
      result += "&gt;";
    } else if (text[i] == '"') {
      result += "&quot;";
    } else if (text[i] == '\'') {
      result += "&#39;";
    } else {
      result += text[i];
    }
  }
  return result;
}

std::string_view chart_color(std::size_t index) { return kColors[index % kColors.size()]; }

Chart::Chart(Axis x, Axis y, double width, double height, double right)
    : x_(std::move(x)), y_(std::move(y)), width_(width), height_(height), right_(right) {}

double Chart::place_x(double value) const {
  const auto scaled = [&](double v) { return x_.logarithmic ? std::log(v) : v; };
  const double held = std::clamp(value, x_.low, x_.high);
  const double share = (scaled(held) - scaled(x_.low)) / (scaled(x_.high) - scaled(x_.low));
  return kLeft + share * (width_ - kLeft - right_);
}

double Chart::place_y(double value) const {
  const auto scaled = [&](double v) { return y_.logarithmic ? std::log(v) : v; };
  const double held = std::clamp(value, y_.low, y_.high);
  const double share = (scaled(held) - scaled(y_.low)) / (scaled(y_.high) - scaled(y_.low));
  return height_ - kBottom - share * (height_ - kTop - kBottom);
}

void Chart::line(const std::vector<ChartPoint>& points, std::string_view name,
                 std::string_view color, std::string_view dash, double stroke) {
  if (points.empty()) return;
  std::vector<ChartPoint> placed;
  for (const ChartPoint& point : points) placed.push_back({place_x(point.x), place_y(point.y)});
  occupied_.insert(occupied_.end(), placed.begin(), placed.end());
  marks_ += "<path d=\"" + path(placed) + "\" fill=\"none\" stroke=\"" + std::string(color) +
            "\" stroke-width=\"" + number(stroke) + "\" stroke-linejoin=\"round\"" +
            (dash.empty() ? "" : " stroke-dasharray=\"" + std::string(dash) + "\"") + "/>\n";
  if (!name.empty()) {
    ends_.push_back({placed.back().x, placed.back().y, shortened(name), std::string(color)});
  }
}

void Chart::staircase(const std::vector<ChartPoint>& points, std::string_view name,
                      std::string_view color, std::string_view dash, double stroke) {
  std::vector<ChartPoint> corners;
  for (const ChartPoint& point : points) {
    if (!corners.empty()) corners.push_back({point.x, corners.back().y});
    corners.push_back(point);
  }
  if (!corners.empty()) corners.push_back({x_.high, corners.back().y});
  line(corners, name, color, dash, stroke);
}

void Chart::point(ChartPoint at, std::string_view name, std::string_view color) {
  const double x = place_x(at.x), y = place_y(at.y);
  marks_ += "<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"3.5\" fill=\"" +
            std::string(color) + "\" stroke=\"#fff\"/>\n";
  occupied_.push_back({x, y});
  if (!name.empty()) points_.push_back({x, y, shortened(name), std::string(color)});
}

void Chart::band(const std::vector<ChartPoint>& lower, const std::vector<ChartPoint>& upper,
                 std::string_view name, std::string_view color) {
  std::vector<ChartPoint> outline;
  for (const ChartPoint& point : upper) outline.push_back({place_x(point.x), place_y(point.y)});
  for (auto point = lower.rbegin(); point != lower.rend(); ++point) {
    outline.push_back({place_x(point->x), place_y(point->y)});
  }
  marks_ += "<path d=\"" + path(outline) + "Z\" fill=\"" + std::string(color) +
            "\" fill-opacity=\"0.55\" stroke=\"#fff\" stroke-width=\"1\"/>\n";
  // The name is placed where the band is highest and high enough over the whole width of the name.
  const std::string text = shortened(name);
  double best = kLine - 2;
  Label label{.x = 0, .y = 0, .name = text, .color = "#111"};
  bool found = false;
  const double half = width_of(text) / 2 + 3;
  for (double x = kLeft + half; x <= width_ - right_ - half; x += 6) {
    double top = 0, bottom = height_;
    for (std::size_t i = 0; i < upper.size(); ++i) {
      const double at = place_x(upper[i].x);
      if (at < x - half || at > x + half) continue;
      top = std::max(top, place_y(upper[i].y));
      bottom = std::min(bottom, place_y(lower[i].y));
    }
    if (top > 0 && bottom - top > best) {
      best = bottom - top;
      label.x = x;
      label.y = (top + bottom) / 2 + 4;
      found = true;
    }
  }
  if (found) band_names_.push_back(label);
}

void Chart::diagonal(std::string_view name) {
  const double low = std::max(x_.low, y_.low), high = std::min(x_.high, y_.high);
  line({{low, low}, {high, high}}, name, "#7f7f7f", "4 3", 1);
}

std::string Chart::ticks() const {
  std::string result;
  const double bottom = height_ - kBottom, right = width_ - right_;
  for (const double value : tick_values(x_)) {
    const double x = place_x(value);
    result += "<path d=\"M" + number(x) + "," + number(kTop) + "V" + number(bottom) +
              "\" stroke=\"#ddd\"/>\n" +
              text_at(x, bottom + kLine + 2, "middle", "#333", tick_text(value));
  }
  for (const double value : tick_values(y_)) {
    const double y = place_y(value);
    result += "<path d=\"M" + number(kLeft) + "," + number(y) + "H" + number(right) +
              "\" stroke=\"#ddd\"/>\n" + text_at(kLeft - 6, y + 4, "end", "#333", tick_text(value));
  }
  result += "<path d=\"M" + number(kLeft) + "," + number(kTop) + "V" + number(bottom) + "H" +
            number(right) + "\" fill=\"none\" stroke=\"#333\"/>\n";
  result += text_at((kLeft + right) / 2, height_ - 8, "middle", "#111", x_.label);
  const double middle = (kTop + bottom) / 2;
  return result + "<text transform=\"translate(14," + number(middle) +
         ") rotate(-90)\" text-anchor=\"middle\" fill=\"#111\">" + escape_markup(y_.label) +
         "</text>\n";
}

std::string Chart::end_labels() const {
  // From top to bottom, each moved down as far as the one above it needs, then all up again if the
  // last one has left the picture.
  std::vector<Label> labels = ends_;
  std::stable_sort(labels.begin(), labels.end(),
                   [](const Label& a, const Label& b) { return a.y < b.y; });
  std::vector<double> places;
  for (const Label& label : labels) {
    places.push_back(places.empty() ? label.y : std::max(label.y, places.back() + kLine));
  }
  double lowest = height_ - kBottom;
  for (auto place = places.rbegin(); place != places.rend(); ++place) {
    *place = std::min(*place, lowest);
    lowest = *place - kLine;
  }
  std::string result;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const double x = labels[i].x;
    result += "<path d=\"M" + number(x + 2) + "," + number(labels[i].y) + "L" + number(x + 12) +
              "," + number(places[i]) + "\" stroke-width=\"2\" stroke=\"" + labels[i].color +
              "\" fill=\"none\"/>\n" +
              text_at(x + 15, places[i] + 4, "start", "#111", labels[i].name);
  }
  return result;
}

std::string Chart::point_labels() const {
  std::string result;
  std::vector<Box> taken;
  for (const Label& label : points_) {
    taken.push_back({label.x - 4, label.y - 4, label.x + 4, label.y + 4});
  }
  for (const Label& label : points_) {
    const double width = width_of(label.name);
    // Beside the point, then above and below it, then further off.
    struct Place {
      double x, y;
    };
    std::vector<Place> places;
    for (const double away : {0.0, 14.0, 28.0, 42.0}) {
      places.push_back({label.x + 7, label.y + 4 - away});
      places.push_back({label.x + 7, label.y + 4 + away});
      places.push_back({label.x - 7 - width, label.y + 4 - away});
      places.push_back({label.x - 7 - width, label.y + 4 + away});
      places.push_back({label.x - width / 2, label.y - 8 - away});
      places.push_back({label.x - width / 2, label.y + 16 + away});
    }
    Box best_box;
    double best_cost = 1e300;
    for (std::size_t i = 0; i < places.size(); ++i) {
      const Box box{places[i].x, places[i].y - 10, places[i].x + width, places[i].y + 3};
      double cost = static_cast<double>(i);  // the order of preference
      if (box.left < kLeft + 2 || box.right > width_ - right_ || box.top < kTop ||
          box.bottom > height_ - kBottom) {
        cost += 1000;
      }
      for (const Box& other : taken) {
        if (box.left < other.right && other.left < box.right && box.top < other.bottom &&
            other.top < box.bottom) {
          cost += 100;
        }
      }
      // A name next to another point would seem to be that point's.
      for (const Label& other : points_) {
        const bool near = other.x > box.left - 6 && other.x < box.right + 6 &&
                          other.y > box.top - 8 && other.y < box.bottom + 8;
        if (&other != &label && near) cost += 30;
      }
      for (const ChartPoint& point : occupied_) {
        if (point.x > box.left && point.x < box.right && point.y > box.top &&
            point.y < box.bottom) {
          cost += 2;
        }
      }
      if (cost < best_cost) {
        best_cost = cost;
        best_box = box;
      }
    }
    taken.push_back(best_box);
    const double middle = (best_box.top + best_box.bottom) / 2;
    if (std::abs(middle - label.y) > 12) {
      const double x = std::clamp(label.x, best_box.left, best_box.right);
      const double y = middle < label.y ? best_box.bottom : best_box.top;
      result += "<path d=\"M" + number(label.x) + "," + number(label.y) + "L" + number(x) + "," +
                number(y) + "\" stroke=\"#777\" stroke-width=\"1\"/>\n";
    }
    result += text_at(best_box.left, best_box.bottom - 3, "start", label.color, label.name);
  }
  return result;
}

std::string Chart::svg(std::string_view description) const {
  std::string result = "<svg viewBox=\"0 0 " + number(width_) + " " + number(height_) +
                       "\" role=\"img\" aria-label=\"" + escape_markup(description) +
                       "\" font-family=\"sans-serif\" font-size=\"12\">\n";
  result += ticks() + marks_ + end_labels();
  // A white rim keeps names readable on lines and bands.
  result += "<g stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\">\n" + point_labels();
  result += "</g>\n";
  for (const Label& label : band_names_) {
    result += text_at(label.x, label.y, "middle", label.color, label.name);
  }
  return result + "</svg>\n";
}

}  // namespace r2router::eval::report
