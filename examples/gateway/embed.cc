// A program with a gateway of its own, for its other parts and for clients on this machine:
//
//     OPENROUTER_API_KEY=... embed
//     embed http://localhost:8000/v1
//
// It prints the address, and ends with its input.
#include <iostream>
#include <string>

#include <r2router/gateway.h>

int main(int argc, char** argv) {
  r2router::GatewayOptions options;
  options.listen = "127.0.0.1:0";  // any free port
  if (argc > 1) options.llm_api_base = argv[1];
  options.settings.max_cost_usd = 0.05;  // of each request, unless it sets a limit itself
  options.config = R"({
    "policies": {"cheap": {"objective": "cheapest", "quality_fraction": 0.9}},
    "bounds": {"max_cost_usd": 0.25}
  })";
  options.log = [](r2router::LogLevel, std::string_view message) { std::cerr << message << "\n"; };
  try {
    r2router::Gateway gateway(options);
    gateway.start();
    std::cout << gateway.url() << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
    }
    gateway.stop();  // after the requests in progress
  } catch (const r2router::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
