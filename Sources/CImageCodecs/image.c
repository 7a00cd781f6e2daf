#include "CImageCodecs.h"

#include <limits.h>
#include <png.h>
#include <stdio.h>
#include <string.h>
#include <turbojpeg.h>

static int fail(char message[APUS_CODEC_MESSAGE], const char *what) {
  snprintf(message, APUS_CODEC_MESSAGE, "%s", what);
  return -1;
}

apus_image_format apus_image_probe(const uint8_t *data, size_t size) {
  static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  static const uint8_t jpeg[3] = {0xff, 0xd8, 0xff};
  if (size >= sizeof png && memcmp(data, png, sizeof png) == 0) return APUS_IMAGE_PNG;
  if (size >= sizeof jpeg && memcmp(data, jpeg, sizeof jpeg) == 0) return APUS_IMAGE_JPEG;
  return APUS_IMAGE_UNKNOWN;
}

// MARK: PNG

static int png_begin(png_image *image, const uint8_t *data, size_t size, char message[APUS_CODEC_MESSAGE]) {
  memset(image, 0, sizeof *image);
  image->version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(image, data, size)) {
    fail(message, image->message);
    png_image_free(image);
    return -1;
  }
  return 0;
}

static int png_decode(const uint8_t *data, size_t size, uint8_t *rgb, size_t rgb_size,
                      char message[APUS_CODEC_MESSAGE]) {
  png_image image;
  if (png_begin(&image, data, size, message)) return -1;
  image.format = PNG_FORMAT_RGB;
  // Without it 16-bit samples would be taken for linear light and come out brighter than the same picture in 8 bits.
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  if ((uint64_t)image.width * image.height * 3 != rgb_size) {
    png_image_free(&image);
    return fail(message, "the buffer does not fit the picture");
  }
  const png_color white = {255, 255, 255};
  int read = png_image_finish_read(&image, &white, rgb, 0, NULL);
  // Warnings (a wrong colour profile, surplus data) leave a complete picture; missing or damaged pixels are errors.
  if (!read) fail(message, image.message);
  png_image_free(&image);
  return read ? 0 : -1;
}

// MARK: JPEG

static int jpeg_header(tjhandle handle, const uint8_t *data, size_t size, int *width, int *height,
                       char message[APUS_CODEC_MESSAGE]) {
  int subsampling = 0, colours = 0;
  if (size > ULONG_MAX || tjDecompressHeader3(handle, data, (unsigned long)size, width, height, &subsampling, &colours))
    return fail(message, tjGetErrorStr2(handle));
  if (*width <= 0 || *height <= 0) return fail(message, "the JPEG picture is empty");
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) return fail(message, "CMYK JPEG pictures are not read");
  return 0;
}

static int jpeg_decode(const uint8_t *data, size_t size, uint8_t *rgb, size_t rgb_size,
                       char message[APUS_CODEC_MESSAGE]) {
  tjhandle handle = tjInitDecompress();
  if (!handle) return fail(message, "no memory for the JPEG decoder");
  int width = 0, height = 0;
  int status = jpeg_header(handle, data, size, &width, &height, message);
  if (status == 0 && (uint64_t)width * (uint64_t)height * 3 != rgb_size)
    status = fail(message, "the buffer does not fit the picture");
  // A progressive file can hold thousands of scans of the same picture: bounded, and warnings (cut off, bad codes) count.
  if (status == 0 && tjDecompress2(handle, data, (unsigned long)size, rgb, width, 0, height, TJPF_RGB,
                                   TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS | TJFLAG_STOPONWARNING))
    status = fail(message, tjGetErrorStr2(handle));
  tjDestroy(handle);
  return status;
}

// MARK: Either

int apus_image_size(const uint8_t *data, size_t size, uint32_t *width, uint32_t *height,
                    char message[APUS_CODEC_MESSAGE]) {
  switch (apus_image_probe(data, size)) {
    case APUS_IMAGE_PNG: {
      png_image image;
      if (png_begin(&image, data, size, message)) return -1;
      *width = image.width;
      *height = image.height;
      png_image_free(&image);
      return 0;
    }
    case APUS_IMAGE_JPEG: {
      tjhandle handle = tjInitDecompress();
      if (!handle) return fail(message, "no memory for the JPEG decoder");
      int w = 0, h = 0;
      int status = jpeg_header(handle, data, size, &w, &h, message);
      tjDestroy(handle);
      if (status == 0) {
        *width = (uint32_t)w;
        *height = (uint32_t)h;
      }
      return status;
    }
    default:
      return fail(message, "neither a PNG nor a JPEG file");
  }
}

int apus_image_decode_rgb(const uint8_t *data, size_t size, uint8_t *rgb, size_t rgb_size,
                          char message[APUS_CODEC_MESSAGE]) {
  switch (apus_image_probe(data, size)) {
    case APUS_IMAGE_PNG: return png_decode(data, size, rgb, rgb_size, message);
    case APUS_IMAGE_JPEG: return jpeg_decode(data, size, rgb, rgb_size, message);
    default: return fail(message, "neither a PNG nor a JPEG file");
  }
}
