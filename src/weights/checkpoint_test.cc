#include "weights/checkpoint.h"

#include <gmock/gmock.h>

#include "weights/test_files.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Counts how often they are listed.
class CountedFiles final : public FileSet {
 public:
  void put(const std::string& name, std::string content) { memory_.put(name, std::move(content)); }
  std::vector<std::string> names() const override {
    ++listings_;
    return memory_.files()->names();
  }
  Result<FileBytes> open(std::string_view name) const override {
    return memory_.files()->open(name);
  }
  std::string location() const override { return "<memory>"; }
  int listings() const { return listings_; }

 private:
  MemoryFiles memory_;
  mutable int listings_ = 0;
};

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

// An index may name as many files as its writer likes.
TEST(Checkpoint, ListsNoMoreThanAFewOfManyMissingShards) {
  std::string map;
  for (int i = 0; i < 100'000; ++i) {
    map += fmt::format(R"({}"t{}":"{:06}.safetensors")", i ? "," : "", i, i);
  }
  CountedFiles files;
  files.put("model.safetensors.index.json", R"({"weight_map":{)" + map + "}}");
  const auto checkpoint = Checkpoint::open(files);
  ASSERT_FALSE(checkpoint);
  EXPECT_THAT(checkpoint.error().message,
              AllOf(HasSubstr("100000 of 100000 files"),
                    HasSubstr("000019.safetensors ... and 99980 more"), Not(HasSubstr("000020"))));
  EXPECT_EQ(files.listings(), 1);
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
