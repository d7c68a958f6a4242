// Charts as inline SVG, which need no script, no style sheet and nothing from elsewhere.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace r2router::eval::report {

/// `text` for HTML and SVG, as content or in a quoted attribute. Control characters, and those that
/// turn the direction of the text after them, become "�".
std::string escape_markup(std::string_view text);

/// A direction of a chart. Values outside are drawn at its edge.
struct Axis {
  std::string label;
  double low = 0, high = 1;  ///< low < high; both > 0 if logarithmic
  bool logarithmic = false;
};

struct ChartPoint {
  double x = 0, y = 0;
};

/// Colours that colour-blind readers can distinguish on white (Okabe and Ito), black first.
std::string_view chart_color(std::size_t index);

/// One chart. Lines have their names at their right ends and points next to them, so that nothing
/// depends on colour.
class Chart {
 public:
  /// `width` and `height` of the whole picture, `right` of the margin for the names of lines; in
  /// units of a character's height of 12.
  Chart(Axis x, Axis y, double width, double height, double right);

  /// `dash`: lengths of strokes and gaps, or empty. `stroke`: width of the line.
  void line(const std::vector<ChartPoint>& points, std::string_view name, std::string_view color,
            std::string_view dash, double stroke);
  /// A line that runs level to each point and then jumps to it, up to the right edge.
  void staircase(const std::vector<ChartPoint>& points, std::string_view name,
                 std::string_view color, std::string_view dash, double stroke);
  void point(ChartPoint at, std::string_view name, std::string_view color);
  /// The area between two lines over the same x, with its name where there is room for it.
  void band(const std::vector<ChartPoint>& lower, const std::vector<ChartPoint>& upper,
            std::string_view name, std::string_view color);
  /// The line y = x, named.
  void diagonal(std::string_view name);

  /// The picture; `description` is for readers who do not see it.
  std::string svg(std::string_view description) const;

 private:
  struct Label {
    double x = 0, y = 0;
    std::string name, color;
  };
  struct Box {
    double left = 0, top = 0, right = 0, bottom = 0;
  };

  double place_x(double value) const;
  double place_y(double value) const;
  std::string ticks() const;
  std::string end_labels() const;
  std::string point_labels() const;

  Axis x_, y_;
  double width_, height_, right_;
  std::string marks_;
  std::vector<Label> ends_, points_, band_names_;
  std::vector<ChartPoint> occupied_;  ///< vertices of lines, which names should not cover
};

}  // namespace r2router::eval::report
