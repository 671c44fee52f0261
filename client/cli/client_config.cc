#include "client/cli/client_config.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file_error.h"
#include "base/read_file.h"
#include "base/reason.h"
#include "client/cli/errors.h"
#include "client/options.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace ramvol::cli {
namespace {

namespace fs = std::filesystem;
using google::protobuf::TextFormat;

constexpr char kHead[] =
    "# proto-file: ramvol/v1/client_config.proto\n"
    "# proto-message: ramvol.v1.ClientConfig\n";

// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty()) {
      text_ = absl::StrCat(line + 1, ":", column + 1, ": ", message);
    }
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string NamesOf(const v1::ClientConfig& config) {
  return absl::StrJoin(config.contexts(), ", ",
                       [](std::string* out, const v1::ClientContext& context) {
                         *out += context.name();
                       });
}

// The flags of a server, beside the values of a context.
std::vector<std::pair<std::string*, std::string>> Fields(
    CommonFlags* flags, const v1::ClientContext& context) {
  return {{&flags->server, context.server()},
          {&flags->tls_ca, context.tls_ca()},
          {&flags->tls_cert, context.tls_cert()},
          {&flags->tls_key, context.tls_key()},
          {&flags->token_file, context.token_file()}};
}

void Fill(const v1::ClientContext& context, CommonFlags* flags) {
  for (const auto& [flag, value] : Fields(flags, context)) {
    if (flag->empty()) *flag = value;
  }
}

v1::ClientContext FromEnvironment(const CliContext& context) {
  v1::ClientContext given;
  const auto value = [&](const char* name) {
    return context.env(name).value_or("");
  };
  given.set_server(value("RAMVOL_SERVER"));
  given.set_tls_ca(value("RAMVOL_TLS_CA"));
  given.set_tls_cert(value("RAMVOL_TLS_CERT"));
  given.set_tls_key(value("RAMVOL_TLS_KEY"));
  given.set_token_file(value("RAMVOL_TOKEN_FILE"));
  return given;
}

}  // namespace

std::string ConfigPath(const CliContext& context) {
  if (const auto path = context.env("RAMVOL_CONFIG")) return *path;
  std::string folder = context.env("XDG_CONFIG_HOME").value_or("");
  if (folder.empty()) {
    const auto home = context.env("HOME");
    if (!home.has_value() || home->empty()) return "";
    folder = absl::StrCat(*home, "/.config");
  }
  return absl::StrCat(folder, "/ramvol/config.textproto");
}

absl::StatusOr<v1::ClientConfig> ReadConfig(const std::string& path) {
  v1::ClientConfig config;
  if (path.empty()) return config;
  const auto text = ReadFile(path);
  const std::string why = GetReason(text.status());
  if (why == "ENOENT" || why == "ENOTDIR") return config;
  if (!text.ok()) return UsageError(std::string(text.status().message()));
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (parser.ParseFromString(*text, &config)) return config;
  return UsageError(absl::StrCat(
      path, ":", error.text(),
      "; correct it (the fields are those of ramvol.v1.ClientConfig)"));
}

absl::Status WriteConfig(const std::string& path,
                         const v1::ClientConfig& config) {
  if (path.empty()) {
    return UsageError("there is no home for the contexts; set RAMVOL_CONFIG");
  }
  std::string text;
  TextFormat::PrintToString(config, &text);
  std::error_code ignored;  // Opening says what is wrong.
  fs::create_directories(fs::path(path).parent_path(), ignored);
  const std::string next = absl::StrCat(path, ".", getpid());
  {
    std::ofstream file(next, std::ios::trunc);
    file << kHead << text;
    file.close();
    if (!file) return FileError(errno, absl::StrCat("cannot write ", next));
  }
  if (rename(next.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return FileError(errno, absl::StrCat("cannot replace ", path));
}

v1::ClientContext* FindContext(v1::ClientConfig* config,
                               const std::string& name) {
  for (v1::ClientContext& context : *config->mutable_contexts()) {
    if (context.name() == name) return &context;
  }
  return nullptr;
}

absl::Status CompleteFlags(const CliContext& context, CommonFlags* flags) {
  auto config = ReadConfig(ConfigPath(context));
  if (!config.ok()) return config.status();
  if (flags->context.empty()) {
    flags->context = context.env("RAMVOL_CONTEXT").value_or("");
  }
  if (!flags->context.empty()) {
    const v1::ClientContext* named = FindContext(&*config, flags->context);
    if (named == nullptr) {
      const std::string names = NamesOf(*config);
      return UsageError(absl::StrCat(
          "there is no context \"", flags->context, "\"",
          names.empty() ? "; \"ramvol config set-context\" makes one"
                        : absl::StrCat("; there are ", names)));
    }
    Fill(*named, flags);
  } else {
    Fill(FromEnvironment(context), flags);
    const v1::ClientContext* current =
        FindContext(&*config, config->current_context());
    if (flags->server.empty() && current != nullptr) Fill(*current, flags);
  }
  if (flags->server.empty()) flags->server = ClientOptions().server;
  return absl::OkStatus();
}

}  // namespace ramvol::cli
