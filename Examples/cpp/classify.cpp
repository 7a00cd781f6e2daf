// Reads a hand-written digit with a network from Examples/models, through the C interface from C++: handles are owned by
// std::unique_ptr, errors become exceptions.
//
//   c++ -std=c++17 classify.cpp -lapus -o classify && ./classify [model.onnx]
#include <apus.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <stdexcept>

namespace {

template <auto destroy>
struct Destroy {
  template <typename T>
  void operator()(T *handle) const { destroy(handle); }
};
using Model = std::unique_ptr<apus_model, Destroy<apus_model_destroy>>;
using Session = std::unique_ptr<apus_session, Destroy<apus_session_destroy>>;
using Value = std::unique_ptr<apus_value, Destroy<apus_value_destroy>>;

void check(apus_error *error) {
  const std::unique_ptr<apus_error, Destroy<apus_error_destroy>> owned(error);
  if (owned) throw std::runtime_error(apus_error_message(error));
}

Session load(const char *path) {
  apus_model *model = nullptr;
  check(apus_model_create_from_path(path, &model));
  const Model owned(model);
  apus_session *session = nullptr;
  check(apus_session_create(model, nullptr, &session));
  return Session(session);
}

// 8x8 grey, 0 (paper) to 16 (ink): a three that the networks were not trained on.
constexpr std::array<unsigned char, 64> picture = {
    0, 0, 6, 15, 14, 2,  0, 0, 0, 5, 16, 11, 14, 12, 0, 0, 0, 5, 11, 3, 16, 5,  0, 0, 0, 0, 0, 14, 16, 7,  0, 0,
    0, 0, 0, 8,  10, 16, 3, 0, 0, 1, 4,  0,  0,  12, 7, 0, 0, 7, 16, 5, 6,  16, 5, 0, 0, 1, 8, 15, 16, 12, 1, 0,
};

} // namespace

int main(int argc, char **argv) try {
  const Session session = load(argc > 1 ? argv[1] : "Examples/models/digits_lstm.onnx");

  // Both tensors view these arrays: the network reads the one and writes the other.
  std::array<float, 64> pixels{};
  std::transform(picture.begin(), picture.end(), pixels.begin(), [](unsigned char ink) { return ink / 16.0f; });
  std::array<float, 10> probabilities{};
  const std::array<int64_t, 4> in{1, 1, 8, 8};
  const std::array<int64_t, 2> out{1, 10};
  apus_value *value = nullptr;
  check(apus_value_create_tensor_over(APUS_FLOAT32, in.data(), in.size(), pixels.data(), sizeof pixels, nullptr, nullptr, &value));
  const Value image(value);
  check(apus_value_create_tensor_over(APUS_FLOAT32, out.data(), out.size(), probabilities.data(), sizeof probabilities, nullptr,
                                      nullptr, &value));
  const Value result(value);

  const apus_value *inputs[] = {image.get()};
  apus_value *outputs[] = {result.get()};
  check(apus_session_run(session.get(), inputs, 1, outputs, 1, nullptr));

  const auto best = std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin();
  std::printf("Apus %s reads a %d (%.1f %%).\n", apus_version(), static_cast<int>(best),
              100 * static_cast<double>(probabilities[static_cast<size_t>(best)]));
  return best == 3 ? 0 : 1;
} catch (const std::exception &error) {
  std::fprintf(stderr, "apus: %s\n", error.what());
  return 1;
}
