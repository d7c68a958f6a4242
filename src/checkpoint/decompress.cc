#include "checkpoint/decompress.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include <zlib.h>
#ifdef R2ROUTER_HAS_BZ2
#include <bzlib.h>
#endif
#ifdef R2ROUTER_HAS_LZMA
#include <lzma.h>
#endif

namespace r2router::io {
namespace {

constexpr char kSaveUncompressed[] =
    " Write the file again without compression: joblib.dump(value, file).";

enum class Step : std::uint8_t { kMore, kEnd, kStuck, kCorrupt, kTooMuchMemory };

/// One stream. advance() consumes from the front of `in` and fills the front of `out`.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual Step advance(std::span<const std::uint8_t>& in, std::span<std::uint8_t>& out) = 0;
};

/// The size type of C libraries.
unsigned clamped(std::size_t size) {
  return static_cast<unsigned>(std::min(size, std::size_t{1} << 30));
}

class ZlibDecoder final : public Decoder {
 public:
  explicit ZlibDecoder(bool gzip) {
    constexpr int kLargestWindow = 15;
    constexpr int kGzipHeader = 16;
    started_ = inflateInit2(&stream_, kLargestWindow + (gzip ? kGzipHeader : 0)) == Z_OK;
  }
  ~ZlibDecoder() override {
    if (started_) inflateEnd(&stream_);
  }

  Step advance(std::span<const std::uint8_t>& in, std::span<std::uint8_t>& out) override {
    if (!started_) return Step::kTooMuchMemory;
    // zlib reads through next_in only, though its type lacks const.
    stream_.next_in = const_cast<Bytef*>(in.data());
    stream_.avail_in = clamped(in.size());
    stream_.next_out = out.data();
    stream_.avail_out = clamped(out.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    in = in.subspan(static_cast<std::size_t>(stream_.next_in - in.data()));
    out = out.subspan(static_cast<std::size_t>(stream_.next_out - out.data()));
    switch (status) {
      case Z_OK:
        return Step::kMore;
      case Z_STREAM_END:
        return Step::kEnd;
      case Z_BUF_ERROR:
        return Step::kStuck;
      case Z_MEM_ERROR:
        return Step::kTooMuchMemory;
      default:
        return Step::kCorrupt;
    }
  }

 private:
  z_stream stream_{};
  bool started_ = false;
};

#ifdef R2ROUTER_HAS_BZ2
class Bz2Decoder final : public Decoder {
 public:
  Bz2Decoder() { started_ = BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK; }
  ~Bz2Decoder() override {
    if (started_) BZ2_bzDecompressEnd(&stream_);
  }

  Step advance(std::span<const std::uint8_t>& in, std::span<std::uint8_t>& out) override {
    if (!started_) return Step::kTooMuchMemory;
    const unsigned had_in = clamped(in.size());
    const unsigned had_out = clamped(out.size());
    stream_.next_in = reinterpret_cast<char*>(const_cast<std::uint8_t*>(in.data()));
    stream_.avail_in = had_in;
    stream_.next_out = reinterpret_cast<char*>(out.data());
    stream_.avail_out = had_out;
    const int status = BZ2_bzDecompress(&stream_);
    const unsigned consumed = had_in - stream_.avail_in;
    const unsigned produced = had_out - stream_.avail_out;
    in = in.subspan(consumed);
    out = out.subspan(produced);
    switch (status) {
      case BZ_OK:  // also if no input is left
        return consumed == 0 && produced == 0 ? Step::kStuck : Step::kMore;
      case BZ_STREAM_END:
        return Step::kEnd;
      case BZ_MEM_ERROR:
        return Step::kTooMuchMemory;
      default:
        return Step::kCorrupt;
    }
  }

 private:
  bz_stream stream_{};
  bool started_ = false;
};
#endif

#ifdef R2ROUTER_HAS_LZMA
class LzmaDecoder final : public Decoder {
 public:
  explicit LzmaDecoder(bool xz) {
    // A header can request a dictionary of 4 GiB; the highest preset needs 65 MiB.
    constexpr std::uint64_t kMostMemory = std::uint64_t{128} << 20;
    status_ = xz ? lzma_stream_decoder(&stream_, kMostMemory, 0)
                 : lzma_alone_decoder(&stream_, kMostMemory);
  }
  ~LzmaDecoder() override { lzma_end(&stream_); }

  Step advance(std::span<const std::uint8_t>& in, std::span<std::uint8_t>& out) override {
    if (status_ != LZMA_OK) return Step::kTooMuchMemory;
    stream_.next_in = in.data();
    stream_.avail_in = in.size();
    stream_.next_out = out.data();
    stream_.avail_out = out.size();
    const lzma_ret status = lzma_code(&stream_, LZMA_RUN);
    const bool stuck = stream_.avail_in == in.size() && stream_.avail_out == out.size();
    in = in.last(stream_.avail_in);
    out = out.last(stream_.avail_out);
    switch (status) {
      case LZMA_OK:
        return stuck ? Step::kStuck : Step::kMore;
      case LZMA_STREAM_END:
        return Step::kEnd;
      case LZMA_BUF_ERROR:
        return Step::kStuck;
      case LZMA_MEM_ERROR:
      case LZMA_MEMLIMIT_ERROR:
        return Step::kTooMuchMemory;
      default:
        return Step::kCorrupt;
    }
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  lzma_ret status_ = LZMA_OK;
};
#endif

[[noreturn, maybe_unused]] void not_built(const std::string& what, const std::string& package) {
  throw DecompressionError{0, "the file is compressed with " + what +
                                  ", and this build of r2router has no " + what + " support." +
                                  kSaveUncompressed + " Or build r2router where " + package +
                                  " is installed."};
}

std::unique_ptr<Decoder> make_decoder(Compression compression) {
  switch (compression) {
    case Compression::kZlib:
    case Compression::kGzip:
      return std::make_unique<ZlibDecoder>(compression == Compression::kGzip);
    case Compression::kBz2:
#ifdef R2ROUTER_HAS_BZ2
      return std::make_unique<Bz2Decoder>();
#else
      not_built("bz2", "libbz2-dev");
#endif
    case Compression::kXz:
    case Compression::kLzma:
#ifdef R2ROUTER_HAS_LZMA
      return std::make_unique<LzmaDecoder>(compression == Compression::kXz);
#else
      not_built("xz", "liblzma-dev");
#endif
    default:
      throw DecompressionError{
          0, std::string("the file is compressed with lz4, which is not supported; zlib, gzip, "
                         "bz2, xz and lzma are.") +
                 kSaveUncompressed};
  }
}

}  // namespace

Compression detect_compression(std::span<const std::uint8_t> bytes) {
  const auto starts_with = [&](std::string_view magic) {
    return bytes.size() >= magic.size() &&
           std::ranges::equal(bytes.first(magic.size()), magic, [](std::uint8_t a, char b) {
             return a == static_cast<std::uint8_t>(b);
           });
  };
  // RFC 1950: deflate with a window of up to 32 KiB, and a header that is a multiple of 31.
  if (bytes.size() >= 2 && bytes[0] == 0x78 && (bytes[0] * 256 + bytes[1]) % 31 == 0) {
    return Compression::kZlib;
  }
  if (starts_with("\x1f\x8b")) return Compression::kGzip;
  if (starts_with("BZh")) return Compression::kBz2;
  if (starts_with({"\xfd"
                   "7zXZ\0",
                   6})) {
    return Compression::kXz;
  }
  // The properties byte that every writer uses, and a dictionary of a multiple of 64 KiB. A pickle
  // of protocol 0 or 1 does not begin with "]" here: that is a list, which no checkpoint is.
  if (starts_with({"]\0\0", 3})) return Compression::kLzma;
  if (starts_with("\x04\x22\x4d\x18")) return Compression::kLz4;
  return Compression::kNone;
}

std::vector<std::uint8_t> decompress(std::span<const std::uint8_t> bytes, Compression compression,
                                     std::size_t most_bytes) {
  constexpr std::size_t kFirstStep = 1 << 16;
  const std::unique_ptr<Decoder> decoder = make_decoder(compression);
  std::span<const std::uint8_t> in = bytes;
  std::vector<std::uint8_t> out;
  std::size_t done = 0;
  const auto fail = [&](const std::string& message) {
    throw DecompressionError{bytes.size() - in.size(), message};
  };
  constexpr char kDamaged[] = " The file is damaged: copy or download it again.";
  for (Step step = Step::kMore; step != Step::kEnd;) {
    if (done == out.size()) {
      if (out.size() == most_bytes) {
        fail("the file decompresses to more than " + std::to_string(most_bytes) + " bytes." +
             kSaveUncompressed);
      }
      out.resize(std::clamp(2 * out.size(), std::min(kFirstStep, most_bytes), most_bytes));
    }
    std::span<std::uint8_t> room = std::span(out).subspan(done);
    step = decoder->advance(in, room);
    done = out.size() - room.size();
    if (step == Step::kStuck) fail(std::string("the compressed data ends too early.") + kDamaged);
    if (step == Step::kCorrupt) fail(std::string("the compressed data is corrupt.") + kDamaged);
    if (step == Step::kTooMuchMemory) {
      fail(std::string("the compressed data needs too much memory to be read.") +
           kSaveUncompressed);
    }
  }
  // joblib itself would read a second stream here; its writer never makes one.
  if (!in.empty()) {
    fail(std::to_string(in.size()) + " bytes follow the end of the compressed data." + kDamaged);
  }
  out.resize(done);
  return out;
}

}  // namespace r2router::io
