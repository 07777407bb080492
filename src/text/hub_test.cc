// Downloads from a stand-in hub on the loopback (tests/hub/hub_stub.py).
#include "text/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>

extern char** environ;

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The stub as a child process; it writes its port to its standard output.
class HubStub {
 public:
  HubStub() {
    int ends[2];
    if (pipe(ends) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    std::string script = FATHOM_TEST_DATA "/hub/hub_stub.py";
    std::string python = "python3";
    char* arguments[] = {python.data(), script.data(), nullptr};
    if (posix_spawnp(&pid_, "python3", &actions, nullptr, arguments, environ) != 0) pid_ = 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char byte;
    while (::read(ends[0], &byte, 1) == 1 && byte != '\n') port_ += byte;
    close(ends[0]);
  }
  ~HubStub() {
    if (pid_ <= 0) return;
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  std::string endpoint() const { return "http://127.0.0.1:" + port_; }

 private:
  pid_t pid_ = 0;
  std::string port_;
};

class Hub : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Beside a proxy in the environment the loopback would not be reached.
    for (const char* name :
         {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})
      unsetenv(name);
    stub_ = std::make_unique<HubStub>();
  }
  static void TearDownTestSuite() { stub_.reset(); }
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "fathom-hub-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    options_.cache_dir = folder_ / "cache";
    options_.endpoint = stub_->endpoint();
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<fs::path> locate(const std::string& model, ModelParts parts = ModelParts::kAll) {
    return locate_model(model, parts, options_,
                        [this](std::string_view file, uint64_t done, uint64_t total) {
                          auto& seen = progress_[std::string(file)];
                          EXPECT_LE(done, total);
                          seen = {done, total};
                        });
  }

  static inline std::unique_ptr<HubStub> stub_;
  fs::path folder_;
  HubOptions options_;
  std::map<std::string, std::pair<uint64_t, uint64_t>> progress_;
};

TEST_F(Hub, DownloadsIntoTheCacheLayoutAndFindsItOffline) {
  const auto path = locate("org/model");
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_EQ(*path, options_.cache_dir / "models--org--model/snapshots/1111aaaa");
  EXPECT_EQ(read(*path / "config.json"), R"({"revision": "main"})");
  EXPECT_EQ(read(*path / "model.safetensors").size(), 1000000u);
  EXPECT_EQ(progress_["model.safetensors"], std::pair(uint64_t{1000000}, uint64_t{1000000}));
  EXPECT_FALSE(fs::exists(*path / "README.md"));
  EXPECT_EQ(read(options_.cache_dir / "models--org--model/refs/main"), "1111aaaa");

  options_.offline = true;
  options_.endpoint = "http://127.0.0.1:1";
  EXPECT_EQ(locate("org/model").value(), *path);
  const auto other = locate("org/absent");
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message,
              HasSubstr("Model 'org/absent' was not found locally (searched "));
  EXPECT_THAT(other.error().message, HasSubstr("huggingface-cli download org/absent"));
}

TEST_F(Hub, RevisionsHaveTheirOwnSnapshots) {
  options_.revision = "v2";
  const auto path = locate("org/model");
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_EQ(path->filename(), "2222bbbb");
  EXPECT_EQ(read(*path / "config.json"), R"({"revision": "v2"})");
  options_.revision = "2222bbbb";
  options_.offline = true;
  EXPECT_EQ(locate("org/model").value(), *path);
  options_.revision = "main";
  EXPECT_FALSE(locate("org/model"));
}

TEST_F(Hub, DownloadDirComesFirst) {
  options_.download_dir = folder_ / "downloads";
  const auto path = locate("org/model");
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_TRUE(path->string().starts_with(options_.download_dir.string()));
  EXPECT_FALSE(fs::exists(options_.cache_dir / "models--org--model"));
}

TEST_F(Hub, TokensOpenGatedModels) {
  const auto refused = locate("org/gated");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("401"));
  EXPECT_THAT(refused.error().message, HasSubstr("HF_TOKEN"));
  options_.token = "secret";
  EXPECT_TRUE(locate("org/gated"));
}

TEST_F(Hub, AbsentModelsAndRevisionsAreNamed) {
  const auto absent = locate("org/absent");
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, HasSubstr("org/absent"));
  EXPECT_THAT(absent.error().message, HasSubstr("--revision"));
  options_.endpoint = "http://127.0.0.1:1";
  EXPECT_FALSE(locate("org/model"));
}

TEST_F(Hub, WhatIsIncompleteNeverLooksComplete) {
  // The hub breaks off in the middle of the weights.
  ASSERT_FALSE(locate("org/broken"));
  options_.offline = true;
  EXPECT_FALSE(locate("org/broken"));
  for (const auto& entry : fs::recursive_directory_iterator(options_.cache_dir)) {
    EXPECT_NE(entry.path().filename(), "model.safetensors");
    EXPECT_NE(entry.path().filename(), "config.json");
  }
  // The next start goes on where this one broke off.
  options_.offline = false;
  const auto path = locate("org/broken");
  ASSERT_TRUE(path) << path.error().message;
  const std::string weights = read(*path / "model.safetensors");
  ASSERT_EQ(weights.size(), 1000000u);
  for (size_t i = 0; i < weights.size(); ++i) {
    ASSERT_EQ(static_cast<uint8_t>(weights[i]), i % 250) << "byte " << i;
  }
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

TEST_F(Hub, WeightsAreFetchedForThoseWhoNeedThem) {
  for (const ModelParts parts : {ModelParts::kConfig, ModelParts::kTokenizer}) {
    options_.cache_dir = folder_ / (parts == ModelParts::kConfig ? "config" : "tokenizer");
    const auto path = locate("org/model", parts);
    ASSERT_TRUE(path) << path.error().message;
    EXPECT_THAT(names_in(*path), ElementsAre("config.json", "tokenizer.json"));
  }
  // Without weights it is no model yet.
  options_.offline = true;
  EXPECT_TRUE(locate("org/model", ModelParts::kConfig));
  EXPECT_TRUE(locate("org/model", ModelParts::kTokenizer));
  const auto lacking = locate("org/model");
  ASSERT_FALSE(lacking);
  EXPECT_THAT(lacking.error().message, HasSubstr("where 1111aaaa lacks model.safetensors)"));
  options_.offline = false;
  const auto path = locate("org/model");
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_EQ(fs::file_size(*path / "model.safetensors"), 1000000u);
}

TEST_F(Hub, ATokenizerNeedsNoModel) {
  const auto path = locate("org/tokenizer", ModelParts::kTokenizer);
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_THAT(names_in(*path), ElementsAre("tokenizer.json", "tokenizer_config.json"));
  const auto model = locate("org/tokenizer");
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr("has no config.json"));
  options_.offline = true;
  EXPECT_TRUE(locate("org/tokenizer", ModelParts::kTokenizer));
  EXPECT_THAT(locate("org/tokenizer").error().message,
              HasSubstr("lacks model.safetensors, config.json"));
}

// Other programs leave snapshots with a part of a model behind, too.
TEST_F(Hub, ASnapshotIsCompleteWithAllItsShards) {
  const auto whole = locate("org/sharded");
  ASSERT_TRUE(whole) << whole.error().message;
  const std::string shard = "model-00002-of-00002.safetensors";
  EXPECT_TRUE(fs::exists(*whole / shard));
  progress_.clear();
  EXPECT_TRUE(locate("org/sharded"));
  EXPECT_TRUE(progress_.empty());

  // As where the blob that a link names is gone.
  fs::remove(fs::canonical(*whole / shard));
  options_.offline = true;
  EXPECT_THAT(locate("org/sharded").error().message,
              HasSubstr("models--org--sharded, where 1111aaaa lacks " + shard + ")"));
  EXPECT_TRUE(locate("org/sharded", ModelParts::kConfig));
  fs::remove(*whole / shard);
  options_.offline = false;
  EXPECT_EQ(locate("org/sharded").value(), *whole);
  EXPECT_EQ(progress_.size(), 1u) << "only what is missing";
  EXPECT_TRUE(progress_.contains(shard));

  // A damaged index is described by who reads it.
  fs::remove(*whole / "model.safetensors.index.json");
  std::ofstream(*whole / "model.safetensors.index.json") << "{";
  EXPECT_TRUE(locate("org/sharded"));
}

TEST_F(Hub, AGgufFileIsAllOfAModel) {
  const fs::path snapshot = options_.cache_dir / "models--org--gguf/snapshots/main";
  fs::create_directories(snapshot);
  std::ofstream(snapshot / "model.gguf") << "GGUF";
  options_.offline = true;
  for (const ModelParts parts : {ModelParts::kAll, ModelParts::kConfig, ModelParts::kTokenizer}) {
    EXPECT_EQ(locate("org/gguf", parts).value(), snapshot);
  }
}

TEST_F(Hub, AFullButUnnamedPartIsExplained) {
  // Killed between the last byte and the renaming: the hub has nothing more to send.
  const fs::path blobs = options_.cache_dir / "models--org--model/blobs";
  fs::create_directories(blobs);
  std::ofstream(blobs / "1111aaaa-model.part") << std::string(1000000, 'x');
  const auto path = locate("org/model");
  ASSERT_FALSE(path);
  EXPECT_THAT(path.error().message, HasSubstr("delete its .part file"));
}

TEST_F(Hub, ALocalFolderIsItself) {
  fs::create_directories(folder_ / "mine");
  EXPECT_EQ(locate((folder_ / "mine").string()).value(), folder_ / "mine");
  EXPECT_FALSE(locate(""));
  EXPECT_FALSE(locate("/no/such/folder"));
  EXPECT_FALSE(locate("../nosuch"));
}

}  // namespace
}  // namespace fathom
