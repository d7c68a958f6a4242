// Requests on a host's event loop: any number at once on one thread, none of which blocks it.
//
//     class Answer : public EventTransport::Receiver { ... };
//     EventTransport transport(loop);            // the loop calls on_socket() and on_timer()
//     auto call = transport.start(endpoint, std::move(request), answer);
//     call.reset();                              // cancels it
//
// Uses libcurl's multi_socket interface. Connections are kept open and shared by all requests of a
// transport, and HTTP/2 is used where a server offers it over TLS.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "llm/http/exchange.h"
#include "llm/http/transport.h"

namespace r2router::llm {

/// What a transport needs of the host's loop. Its calls may come from within on_socket() and
/// on_timer().
class EventLoop {
 public:
  virtual ~EventLoop() = default;

  /// From now on, reports with EventTransport::on_socket() whenever the socket can be read or
  /// written. Replaces what was asked for before. Both false: the loop must forget the socket,
  /// which is about to be closed.
  virtual void watch(int socket, bool read, bool write) = 0;
  /// Calls EventTransport::on_timer() once, at this time or before. Replaces the time before.
  virtual void set_timer(Clock::time_point time) = 0;
};

/// Sends requests to any number of endpoints. Not thread-safe: every method must be called on the
/// loop's thread. Must not be used in the child of a fork().
class EventTransport {
 public:
  /// Takes an answer as it arrives. Called from on_socket() and on_timer() only; may start, cancel,
  /// pause and resume any call.
  class Receiver {
   public:
    /// The status and the headers of an answer, before its body. Not called without an answer.
    virtual void on_head(const Response& head) = 0;
    /// A piece of the body of a 2xx answer. Other bodies are in Response::body.
    virtual void on_body(std::string_view piece) = 0;
    /// The end of the call, with or without a failure. The call may be destroyed here.
    virtual void on_end(const Response& response) = 0;

   protected:
    ~Receiver() = default;
  };

  /// A request in progress. Its destruction cancels it: the connection is closed (or the HTTP/2
  /// stream reset) at once, and the receiver is not called again.
  class Call {
   public:
    virtual ~Call() = default;
    /// No more is read from the server until resume(), except for what is already buffered. The
    /// idle timeout does not apply meanwhile.
    virtual void pause() = 0;
    virtual void resume() = 0;
    /// Part of the request was sent, so the server may have processed it.
    virtual bool sent() const = 0;
  };

  /// `loop` must outlive the transport. Throws Error(kUnsupported) without a usable libcurl.
  explicit EventTransport(EventLoop& loop);
  EventTransport(const EventTransport&) = delete;
  EventTransport& operator=(const EventTransport&) = delete;
  /// All calls must have been destroyed. Closes the connections.
  ~EventTransport();

  /// Sends a request; its `cancel` and `on_body` are not used. The receiver must outlive the call.
  std::unique_ptr<Call> start(std::shared_ptr<const CheckedEndpoint> endpoint, Request request,
                              Receiver& receiver);

  // For the loop.
  void on_socket(int socket, bool readable, bool writable, bool failed);
  void on_timer();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace r2router::llm
