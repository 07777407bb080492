#include "weights/checkpoint.h"

#include <gmock/gmock.h>

#include "weights/test_files.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string shard(const std::string& tensor) {
  SafetensorsBuilder builder;
  builder.add(tensor, DType::kF32, {2});
  return builder.build();
}

std::string error_of(const MemoryFiles& files) {
  const auto checkpoint = Checkpoint::open(*files.files());
  return checkpoint ? "no error" : checkpoint.error().message;
}

std::string index_error(const std::string& index) {
  MemoryFiles files;
  files.put("model.safetensors.index.json", index);
  files.put("one.safetensors", shard("a"));
  return error_of(files);
}

TEST(Checkpoint, OneFile) {
  MemoryFiles files;
  files.put("model.safetensors", shard("a"));
  const auto checkpoint = Checkpoint::open(*files.files()).value();
  ASSERT_NE(checkpoint->find("a"), nullptr);
  EXPECT_EQ(checkpoint->find("a")->file->path, "<memory>/model.safetensors");
  EXPECT_EQ(checkpoint->find("b"), nullptr);
}

TEST(Checkpoint, ShardsOfTheIndex) {
  MemoryFiles files;
  files.put("model.safetensors.index.json",
            R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  files.put("one.safetensors", shard("a"));
  files.put("two.safetensors", shard("b"));
  files.put("unrelated.safetensors", "damaged");
  const auto checkpoint = Checkpoint::open(*files.files()).value();
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->find("b")->file->path, "<memory>/two.safetensors");
}

TEST(Checkpoint, ListsAllMissingShards) {
  const std::string error = index_error(
      R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"three.safetensors"}})");
  EXPECT_THAT(error,
              AllOf(HasSubstr("2 of 3 files"), HasSubstr("three.safetensors, two.safetensors"),
                    Not(HasSubstr("one.safetensors"))));
}

TEST(Checkpoint, RefusesWrongIndices) {
  EXPECT_THAT(index_error("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(index_error("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(index_error(R"({"weight_map":["one.safetensors"]})"), HasSubstr("weight_map"));
  EXPECT_THAT(index_error(R"({"weight_map":{}})"), HasSubstr("weight_map is empty"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":1}})"), HasSubstr("of a is not a file name"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"../one.safetensors"}})"),
              HasSubstr("'../one.safetensors'; it must be a file of the same folder"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"/etc/passwd"}})"), HasSubstr("same folder"));
}

TEST(Checkpoint, NamesBothFilesOfADuplicate) {
  MemoryFiles files;
  files.put("model.safetensors.index.json",
            R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  files.put("one.safetensors", shard("a"));
  files.put("two.safetensors", shard("a"));
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("tensor a"), HasSubstr("one.safetensors"),
                                     HasSubstr("two.safetensors")));
}

TEST(Checkpoint, SaysWhatItLooksFor) {
  MemoryFiles files;
  files.put("pytorch_model.bin", "");
  EXPECT_THAT(error_of(files), AllOf(HasSubstr("model.safetensors"), HasSubstr("<memory>")));
  files.put("model.safetensors", "");
  EXPECT_THAT(error_of(files), HasSubstr("too short"));
}

}  // namespace
}  // namespace fathom
