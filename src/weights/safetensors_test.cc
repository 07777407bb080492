#include "weights/safetensors.h"

#include <gmock/gmock.h>

#include <random>

#include "weights/test_files.h"

namespace fathom {
namespace {

using testing::HasSubstr;

Result<std::map<std::string, StoredTensor>> read(const std::string& file) {
  return read_safetensors(std::as_bytes(std::span(file)), "some.safetensors");
}

std::string error_of(const std::string& file) {
  const auto result = read(file);
  if (result) return "no error";
  EXPECT_THAT(result.error().message, HasSubstr("some.safetensors"));
  EXPECT_LT(result.error().message.size(), 1000u);
  return result.error().message;
}

// The error of a file with this header and 16 bytes of data.
std::string header_error(const std::string& header) {
  return error_of(safetensors_of(header, 16));
}

TEST(Safetensors, ReadsTensorsInPlace) {
  SafetensorsBuilder builder;
  builder.add("a", DType::kBF16, {2, 3}, "abcdefghijkl");
  builder.add("b", DType::kF32, {}, "wxyz");
  builder.add("empty", DType::kF8E4M3, {0, 5}, "");
  const std::string file = builder.build();
  const auto tensors = read(file).value();
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors.at("a").describe(), "BF16 [2, 3]");
  EXPECT_EQ(tensors.at("a").elements(), 6);
  EXPECT_EQ(std::memcmp(tensors.at("a").bytes.data(), "abcdefghijkl", 12), 0);
  EXPECT_GE(static_cast<const void*>(tensors.at("a").bytes.data()),
            static_cast<const void*>(file.data()));
  EXPECT_EQ(tensors.at("b").elements(), 1);
  EXPECT_EQ(tensors.at("empty").elements(), 0);
}

TEST(Safetensors, ToleratesMetadataHolesAndPadding) {
  const std::string header =
      R"({"__metadata__":{"format":"pt","dtype":"x"},)"
      R"("a":{"shape":[2],"dtype":"U8","data_offsets":[0,2]},)"
      R"("b":{"dtype":"U8","data_offsets":[8,10],"shape":[2],"note":"unknown"}}    )";
  EXPECT_EQ(read(safetensors_of(header, 16)).value().size(), 2u);
  EXPECT_TRUE(read(safetensors_of("{}", 0)).value().empty());
}

TEST(Safetensors, RefusesLengthsThatDoNotFit) {
  EXPECT_THAT(error_of(""), HasSubstr("0 bytes is too short"));
  EXPECT_THAT(error_of("1234567"), HasSubstr("7 bytes is too short"));
  EXPECT_THAT(error_of(std::string(8, '\xff')), HasSubstr("header of 18446744073709551615 bytes"));
  std::string file = safetensors_of("{}", 0);
  file[0] = 3;
  EXPECT_THAT(error_of(file), HasSubstr("header of 3 bytes does not fit a file of 10 bytes"));
  file = safetensors_of(R"({"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})", 15);
  EXPECT_THAT(error_of(file), HasSubstr("must lie within the 15 bytes of data"));
}

TEST(Safetensors, RefusesWhatIsNotAHeader) {
  EXPECT_THAT(header_error("not json"), HasSubstr("not JSON"));
  EXPECT_THAT(header_error("[1]"), HasSubstr("JSON object"));
  EXPECT_THAT(header_error("7"), HasSubstr("JSON object"));
  EXPECT_THAT(header_error(""), HasSubstr("not JSON"));
  EXPECT_THAT(header_error("{} {}"), HasSubstr("not JSON"));
  EXPECT_THAT(header_error("{\"a\xff\":{}}"), HasSubstr("not JSON"));
  EXPECT_THAT(header_error(R"({"a":[)" + std::string(1'000'000, '[')), HasSubstr("found a list"));
  EXPECT_THAT(header_error(R"({"a":{"x":{"y":1}}})"), HasSubstr("x cannot be an object"));
  EXPECT_THAT(header_error(R"({"__metadata__":{"x":1}})"), HasSubstr("x cannot be a number"));
  EXPECT_THAT(header_error(R"({"__metadata__":{"x":["y"]}})"), HasSubstr("x cannot be a list"));
}

TEST(Safetensors, RefusesWrongEntries) {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return header_error(R"({"a.weight":{"dtype":)" + dtype + R"(,"shape":)" + shape +
                        R"(,"data_offsets":)" + offsets + "}}");
  };
  EXPECT_EQ(entry("\"F32\"", "[4]", "[0,16]"), "no error");
  EXPECT_THAT(entry("\"F31\"", "[4]", "[0,16]"), HasSubstr("a.weight: unknown dtype \"F31\""));
  EXPECT_THAT(entry("4", "[4]", "[0,16]"), HasSubstr("dtype cannot be a number"));
  EXPECT_THAT(entry("\"F32\"", "\"4\"", "[0,16]"), HasSubstr("shape cannot be a string"));
  EXPECT_THAT(entry("\"F32\"", "4", "[0,16]"), HasSubstr("shape cannot be a number"));
  EXPECT_THAT(entry("\"F32\"", "[-4]", "[0,16]"), HasSubstr("negative number -4"));
  EXPECT_THAT(entry("\"F32\"", "[4.0]", "[0,16]"), HasSubstr("shape cannot be the number 4"));
  EXPECT_THAT(entry("\"F32\"", "[null]", "[0,16]"), HasSubstr("shape cannot be null"));
  EXPECT_THAT(entry("\"F32\"", "[[4]]", "[0,16]"), HasSubstr("shape cannot be a list"));
  EXPECT_THAT(entry("\"F32\"", "[1,1,1,1,1,1,1,1,4]", "[0,16]"), HasSubstr("at most 8"));
  EXPECT_THAT(entry("\"F32\"", "[9223372036854775808]", "[0,16]"), HasSubstr("too large"));
  EXPECT_THAT(entry("\"F32\"", "[4294967296,4294967296,4]", "[0,16]"), HasSubstr("overflows"));
  EXPECT_THAT(entry("\"F32\"", "[3]", "[0,16]"),
              HasSubstr("F32 [3] needs 12 bytes, data_offsets give 16"));
  EXPECT_THAT(entry("\"F32\"", "[4]", "[0,17]"), HasSubstr("[0, 17] must lie within the 16"));
  EXPECT_THAT(entry("\"F32\"", "[4]", "[16,0]"), HasSubstr("must lie within"));
  EXPECT_THAT(entry("\"F32\"", "[4]", "[0]"), HasSubstr("must lie within"));
  EXPECT_THAT(entry("\"F32\"", "[4]", "[0,8,16]"), HasSubstr("must lie within"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[4]}})"),
              HasSubstr("needs dtype, shape"));
  EXPECT_THAT(header_error(R"({"a":null})"), HasSubstr("found null"));
  EXPECT_THAT(header_error(R"({"a":true})"), HasSubstr("found a truth value"));
}

TEST(Safetensors, RefusesDuplicatesAndOverlaps) {
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  EXPECT_THAT(header_error("{" + a + "," + a + "}"), HasSubstr("tensor a: is listed twice"));
  EXPECT_THAT(header_error("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})"),
              HasSubstr("tensors a and b overlap"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}})"),
              HasSubstr("has dtype twice"));
}

// Whatever byte is damaged, reading ends with a result or an error, inside the file's bytes.
TEST(Safetensors, SurvivesDamage) {
  SafetensorsBuilder builder;
  builder.add("model.layers.0.mlp.gate.weight", DType::kBF16, {4, 6});
  builder.add("model.norm.weight", DType::kF32, {6});
  const std::string good = builder.build();
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string file = good;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      file[random() % file.size()] = static_cast<char>(random());
    }
    if (round % 4 == 0) file.resize(random() % (file.size() + 1));
    const auto tensors = read(file);
    if (!tensors) continue;
    for (const auto& [name, tensor] : *tensors) {
      ASSERT_LE(tensor.bytes.data() + tensor.bytes.size(),
                reinterpret_cast<const std::byte*>(file.data()) + file.size());
      ASSERT_EQ(tensor.bytes.size(),
                static_cast<size_t>(tensor.elements()) * size_of(tensor.dtype));
    }
  }
}

}  // namespace
}  // namespace fathom
