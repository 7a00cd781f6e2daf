// Decoders of untrusted bytes for the command line: PNG, JPEG, and the deflate streams of zip files.
//
// Nothing here allocates for its caller or keeps state between calls. The caller asks for the size first, checks it
// against its own limits, and hands in a buffer of the size it agreed to. All functions are safe from several threads.
#ifndef CIMAGECODECS_H
#define CIMAGECODECS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Room for a decoder's message, terminating NUL included.
#define APUS_CODEC_MESSAGE 256

typedef enum apus_image_format {
  APUS_IMAGE_UNKNOWN = 0,
  APUS_IMAGE_PNG = 1,
  APUS_IMAGE_JPEG = 2,
} apus_image_format;

/// The format that the first bytes announce.
apus_image_format apus_image_probe(const uint8_t *data, size_t size);

/// Reads the picture's header. Returns 0 and sets both, or -1 with `message` filled in.
int apus_image_size(const uint8_t *data, size_t size, uint32_t *width, uint32_t *height,
                    char message[APUS_CODEC_MESSAGE]);

/// Decodes the whole picture to interleaved 8-bit RGB, rows from top to bottom without padding.
///
/// `rgb_size` must be exactly 3 * width * height as apus_image_size() reported them. Palettes, grey, 16-bit and
/// CMYK-free JPEG variants are converted; transparent PNG pixels lie on white. A damaged or cut-off file is an error.
/// Returns 0, or -1 with `message` filled in and `rgb` in an unspecified state.
int apus_image_decode_rgb(const uint8_t *data, size_t size, uint8_t *rgb, size_t rgb_size,
                          char message[APUS_CODEC_MESSAGE]);

/// Inflates a raw deflate stream (no zlib header, as zip members hold it).
///
/// Succeeds only when the stream ends properly and fills `output` exactly. Returns 0 or -1.
int apus_inflate_raw(const uint8_t *input, size_t input_size, uint8_t *output, size_t output_size);

/// Deflates to a raw stream. Sets `*written`. Returns 0, or -1 when `capacity` is too small (the input does not
/// shrink enough) or memory ran out.
int apus_deflate_raw(const uint8_t *input, size_t input_size, uint8_t *output, size_t capacity, size_t *written);

/// CRC-32 as zip and PNG use it.
uint32_t apus_crc32(const uint8_t *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
