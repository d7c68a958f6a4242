#include <iostream>

#include <r2router/router.h>
#include <r2router/version.h>

int main(int, char** argv) {
  const auto router = r2router::Router::from_pretrained(argv[1]);
  const auto decision = router.route_text("Solve the equation: 2x + 5 = 13");
  std::cout << "r2router " << r2router::version() << ": " << decision.model().name << "\n";
}
