#include "CImageCodecs.h"

#include <limits.h>
#include <zlib.h>

// zlib counts in 32 bits; longer buffers are handed over in pieces of this size.
#define PIECE ((uInt)1 << 30)

static uInt piece(size_t left) { return left > PIECE ? PIECE : (uInt)left; }

int apus_inflate_raw(const uint8_t *input, size_t input_size, uint8_t *output, size_t output_size) {
  z_stream stream = {0};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return -1;
  // A zero-sized member still needs somewhere to point.
  uint8_t nowhere = 0;
  size_t in_left = input_size, out_left = output_size;
  stream.next_in = (Bytef *)input;
  stream.next_out = output ? output : &nowhere;
  int status = Z_OK;
  while (status == Z_OK) {
    uInt in_piece = piece(in_left), out_piece = piece(out_left);
    stream.avail_in = in_piece;
    stream.avail_out = out_piece;
    status = inflate(&stream, Z_NO_FLUSH);
    in_left -= in_piece - stream.avail_in;
    out_left -= out_piece - stream.avail_out;
  }
  inflateEnd(&stream);
  return status == Z_STREAM_END && out_left == 0 && in_left == 0 ? 0 : -1;
}

int apus_deflate_raw(const uint8_t *input, size_t input_size, uint8_t *output, size_t capacity, size_t *written) {
  z_stream stream = {0};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) return -1;
  size_t in_left = input_size, out_left = capacity;
  stream.next_in = (Bytef *)input;
  stream.next_out = output;
  int status = Z_OK;
  while (status == Z_OK) {
    uInt in_piece = piece(in_left), out_piece = piece(out_left);
    stream.avail_in = in_piece;
    stream.avail_out = out_piece;
    status = deflate(&stream, in_piece == in_left ? Z_FINISH : Z_NO_FLUSH);
    in_left -= in_piece - stream.avail_in;
    out_left -= out_piece - stream.avail_out;
    if (status == Z_OK && out_left == 0) break;
  }
  deflateEnd(&stream);
  *written = capacity - out_left;
  return status == Z_STREAM_END ? 0 : -1;
}

uint32_t apus_crc32(const uint8_t *data, size_t size) {
  return (uint32_t)crc32_z(crc32_z(0, Z_NULL, 0), data, size);
}
