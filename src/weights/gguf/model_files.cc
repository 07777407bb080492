#include "weights/gguf/model_files.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "base/some_of.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

// "model-00002-of-00005.gguf" -> "model", 2, 5.
struct Part {
  std::string stem;
  int number = 0;
  int count = 0;
};

std::optional<Part> part_of(const std::string& name) {
  static const std::regex kPattern(R"((.*)-(\d{5})-of-(\d{5})\.gguf)");
  std::smatch match;
  if (!std::regex_match(name, match, kPattern)) return std::nullopt;
  return Part{match[1], std::stoi(match[2]), std::stoi(match[3])};
}

// The names of all files of the model that `name` is (a part of).
Result<std::vector<std::string>> files_of_model(const FileSet& folder, const std::string& name) {
  const auto part = part_of(name);
  if (!part) return std::vector{name};
  const std::vector<std::string> listed = folder.names();
  const std::set<std::string> there(listed.begin(), listed.end());
  std::vector<std::string> all;
  std::vector<std::string> missing;
  for (int i = 1; i <= part->count; ++i) {
    all.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", part->stem, i, part->count));
    if (!there.contains(all.back())) missing.push_back(all.back());
  }
  if (all.empty()) return invalid("{}: a model of 0 parts", name);
  if (!missing.empty()) {
    return fail(ErrorCode::kNotFound, "{}: {} of the {} parts of this GGUF model are missing: {}",
                folder.location(), missing.size(), part->count, some_of(missing));
  }
  return all;
}

// The one GGUF model of a folder.
Result<std::string> model_in(const FileSet& folder, const std::vector<std::string>& names) {
  std::vector<std::string> models;
  for (const std::string& name : names) {
    const auto part = part_of(name);
    if (!part || part->number == 1) models.push_back(name);
  }
  if (models.size() == 1) return models[0];
  if (models.empty()) return names[0];  // parts without the first: reported as missing
  return invalid("{} holds {} GGUF models: {}; name the file", folder.location(), models.size(),
                 some_of(models));
}

// Texts made from metadata, and the GGUF files themselves.
class GgufFiles final : public FileSet {
 public:
  GgufFiles(std::shared_ptr<const FileSet> folder, std::string location)
      : folder_(std::move(folder)), location_(std::move(location)) {}

  void add_text(std::string name, std::string text) {
    texts_.emplace(std::move(name), std::make_shared<const std::string>(std::move(text)));
  }
  void add_file(std::string name) { files_.push_back(std::move(name)); }
  // A file that there is not, and why.
  void add_absence(std::string name, Error why) {
    absent_.emplace(std::move(name), std::move(why));
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names = files_;
    for (const auto& [name, text] : texts_) names.push_back(name);
    return names;
  }
  Result<FileBytes> open(std::string_view name) const override {
    if (const auto text = texts_.find(name); text != texts_.end()) {
      return FileBytes{std::as_bytes(std::span(*text->second)), text->second,
                       fmt::format("{} of {}", name, location_)};
    }
    if (std::ranges::find(files_, name) != files_.end()) return folder_->open(name);
    if (const auto why = absent_.find(name); why != absent_.end()) {
      return std::unexpected(why->second);
    }
    return fail(ErrorCode::kNotFound, "{} has no file {}", location_, name);
  }
  std::string location() const override { return location_; }

 private:
  std::shared_ptr<const FileSet> folder_;
  std::string location_;
  std::vector<std::string> files_;
  std::map<std::string, std::shared_ptr<const std::string>, std::less<>> texts_;
  std::map<std::string, Error, std::less<>> absent_;
};

// Metadata of the first part with the tensor table of all, and checks that the parts belong
// together.
Result<GgufFile> read_parts(const FileSet& folder, const std::vector<std::string>& names,
                            std::vector<FileBytes>& opened) {
  GgufFile whole;
  for (size_t i = 0; i < names.size(); ++i) {
    opened.push_back(TRY(folder.open(names[i])));
    GgufFile part = TRY(read_gguf(opened.back().bytes, opened.back().path));
    const auto* count = part.find<int64_t>("split.count");
    const auto* number = part.find<int64_t>("split.no");
    if (count && *count > 1 &&
        (static_cast<size_t>(*count) != names.size() ||
         (number && *number != static_cast<int64_t>(i)))) {
      return invalid(
          "{}: says that it is part {} of {}, but its name and folder make it part {} of "
          "{}; rename it or fetch the missing parts",
          opened.back().path, number ? *number + 1 : 1, *count, i + 1, names.size());
    }
    if (i == 0) {
      whole = std::move(part);
    } else {
      std::ranges::move(part.tensors, std::back_inserter(whole.tensors));
    }
  }
  return whole;
}

Result<std::shared_ptr<const FileSet>> open_gguf(std::shared_ptr<const FileSet> folder,
                                                 const std::string& name, bool prefer_folder) {
  const std::vector<std::string> names = TRY(files_of_model(*folder, name));
  std::vector<FileBytes> opened;
  const GgufFile model = TRY(read_parts(*folder, names, opened));
  const std::string& path = opened[0].path;
  auto files = std::make_shared<GgufFiles>(folder, path);
  for (const std::string& file : names) files->add_file(file);

  // A text from the folder, where it is preferred and there, or from the metadata.
  const auto add = [&](const char* text_name, auto&& from_metadata) -> Status {
    if (prefer_folder && folder->has(text_name)) {
      files->add_file(text_name);
      return {};
    }
    Result<std::string> text = from_metadata(model);
    if (!text) return fail(text.error().code, "{}: {}", path, text.error().message);
    files->add_text(text_name, std::move(*text));
    return {};
  };
  TRY(add("config.json", config_json_of));
  TRY(add("generation_config.json",
          [](const GgufFile& m) -> Result<std::string> { return generation_json_of(m); }));
  TRY(add("tokenizer_config.json",
          [](const GgufFile& m) -> Result<std::string> { return tokenizer_config_json_of(m); }));
  if (prefer_folder && folder->has("chat_template.jinja")) files->add_file("chat_template.jinja");
  if (auto added = add("tokenizer.json", tokenizer_json_of); !added) {
    // A model without a usable tokenizer can still be served by token ids, or with
    // --tokenizer-path.
    files->add_absence("tokenizer.json", std::move(added.error()));
  }
  return files;
}

}  // namespace

Result<std::shared_ptr<const FileSet>> open_model_files(const fs::path& path,
                                                        FileAccess access) {
  std::error_code error;
  if (path.extension() == ".gguf" && fs::is_regular_file(path, error)) {
    const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
    return open_gguf(TRY(open_folder(parent, access)), path.filename().string(), false);
  }
  auto folder = TRY(open_folder(path, access));
  if (folder->has(kConversionMark)) {
    return invalid("{} holds an unfinished conversion: run the same `fathom convert` again to finish "
                   "it (its command is in {}), or remove the folder",
                   path.string(), kConversionMark);
  }
  std::vector<std::string> models;
  for (const std::string& name : folder->names()) {
    if (name.ends_with(".safetensors")) return folder;
    if (name.ends_with(".gguf")) models.push_back(name);
  }
  if (models.empty()) return folder;
  const std::string name = TRY(model_in(*folder, models));
  return open_gguf(std::move(folder), name, true);
}

}  // namespace fathom
