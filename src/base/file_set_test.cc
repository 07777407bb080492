#include "base/file_set.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "file_set_test_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
    std::ofstream(path_ / "b.txt") << "hello";
    std::ofstream(path_ / "a.txt");
    fs::create_directory(path_ / "sub");
    ASSERT_EQ(mkfifo((path_ / "pipe").c_str(), 0600), 0);
  }
  void TearDown() override { fs::remove_all(path_); }

  std::string open_error(std::string_view name) const {
    const auto file = FileSet::folder(path_).value()->open(name);
    return file ? "no error" : file.error().message;
  }
  fs::path path_;
};

TEST_F(FolderTest, ListsAndMaps) {
  const auto files = FileSet::folder(path_).value();
  EXPECT_THAT(files->names(), ElementsAre("a.txt", "b.txt", "pipe", "sub"));
  EXPECT_TRUE(files->has("b.txt"));
  EXPECT_FALSE(files->has("c.txt"));
  FileBytes bytes = files->open("b.txt").value();
  EXPECT_EQ(bytes.text(), "hello");
  EXPECT_EQ(bytes.path, (path_ / "b.txt").string());
  fs::remove(path_ / "b.txt");
  EXPECT_EQ(bytes.text(), "hello") << "mapped bytes outlive the name";
  EXPECT_TRUE(files->open("a.txt").value().bytes.empty());
}

TEST_F(FolderTest, RefusesWhatIsNoFileOfTheFolder) {
  EXPECT_THAT(open_error("c.txt"), HasSubstr("c.txt: No such file"));
  EXPECT_THAT(open_error("sub"), HasSubstr("not a regular file"));
  EXPECT_THAT(open_error("pipe"), HasSubstr("not a regular file"));
  for (const char* name : {"../b.txt", "sub/x", "/etc/passwd", "..", ".", "", "a\\b"}) {
    EXPECT_THAT(open_error(name), HasSubstr("not a plain file name")) << name;
  }
  EXPECT_THAT(open_error(std::string_view("b.txt\0x", 7)), HasSubstr("not a plain file name"));
}

TEST_F(FolderTest, RefusesWhatIsNoFolder) {
  EXPECT_THAT(FileSet::folder(path_ / "none").error().message, HasSubstr("does not exist"));
  EXPECT_THAT(FileSet::folder(path_ / "b.txt").error().message, HasSubstr("is not a folder"));
}

TEST(EmbeddedFiles, OpenByName) {
  const std::string content = "config";
  const auto files =
      FileSet::embedded("<embedded>", {{"config.json", std::as_bytes(std::span(content))}});
  EXPECT_EQ(files->open("config.json").value().text(), "config");
  EXPECT_THAT(files->open("other.json").error().message,
              HasSubstr("<embedded> has no file other.json"));
  EXPECT_EQ(files->open("other.json").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace fathom
