#include "base/metrics/http_request.h"

#include <string>

#include "gtest/gtest.h"

namespace ramvol::metrics {
namespace {

constexpr char kWhole[] = "GET /metrics?name=x HTTP/1.1\r\nHost: a\r\n\r\nmore";

TEST(HttpRequestTest, AWholeHeadHasAMethodAPathAndALength) {
  HttpRequest request;
  ASSERT_EQ(ParseHttpRequest(kWhole, &request), Opening::kComplete);
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/metrics") << "without what follows the '?'";
  EXPECT_EQ(request.bytes, sizeof(kWhole) - sizeof("more"));
}

TEST(HttpRequestTest, TheHostIsFoundAmongTheFields) {
  const auto host_of = [](const std::string& fields) {
    HttpRequest request;
    request.host = "of the one before";
    EXPECT_EQ(
        ParseHttpRequest("GET / HTTP/1.1\r\n" + fields + "\r\n", &request),
        Opening::kComplete)
        << fields;
    return request.host;
  };
  EXPECT_EQ(host_of("Host: a.example:7421\r\n"), "a.example:7421");
  EXPECT_EQ(host_of("X: y\r\nhOST:\t b \r\nZ: Host: c\r\n"), "b");
  EXPECT_EQ(host_of("Host:\r\n"), "");
  EXPECT_EQ(host_of("X-Host: a\r\nHos: b\r\n"), "");
  EXPECT_EQ(host_of(""), "");
}

TEST(HttpRequestTest, TwoHostsAreWrong) {
  HttpRequest request;
  EXPECT_EQ(
      ParseHttpRequest("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: a\r\n\r\n",
                       &request),
      Opening::kWrong);
  EXPECT_EQ(
      ParseHttpRequest("GET / HTTP/1.1\r\nHost: a\nHost: b\r\n\r\n", &request),
      Opening::kWrong);
}

TEST(HttpRequestTest, FindsWhoSendsIt) {
  HttpRequest request;
  EXPECT_EQ(ParseHttpRequest(
                "GET / HTTP/1.1\r\nHost: a\r\nauthorization:  Bearer x \r\n"
                "Authorizations: y\r\n\r\n",
                &request),
            Opening::kComplete);
  EXPECT_EQ(request.authorization, "Bearer x");
  EXPECT_EQ(ParseHttpRequest("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &request),
            Opening::kComplete);
  EXPECT_EQ(request.authorization, "");
  EXPECT_EQ(ParseHttpRequest("GET / HTTP/1.1\r\nAuthorization: a\r\n"
                             "authorization: b\r\n\r\n",
                             &request),
            Opening::kWrong);
}

TEST(HttpRequestTest, APartOfAHeadIsIncomplete) {
  const std::string head(kWhole, sizeof(kWhole) - sizeof("more"));
  HttpRequest request;
  for (size_t bytes = 0; bytes < head.size(); ++bytes) {
    EXPECT_EQ(ParseHttpRequest(head.substr(0, bytes), &request),
              Opening::kIncomplete)
        << bytes;
  }
}

TEST(HttpRequestTest, OtherProtocolsAreWrongFromTheirFirstBytes) {
  HttpRequest request;
  for (const std::string& seen :
       {std::string("\x16\x03\x01"), std::string("NBDMAGIC\0", 9),
        std::string(" GET / HTTP/1.1"), std::string("G\nT"),
        std::string("GET \x80")}) {
    EXPECT_EQ(ParseHttpRequest(seen, &request), Opening::kWrong);
  }
}

TEST(HttpRequestTest, ALineWithoutAVersionIsWrong) {
  HttpRequest request;
  EXPECT_EQ(ParseHttpRequest("GET /metrics\r\n\r\n", &request),
            Opening::kWrong);
  EXPECT_EQ(ParseHttpRequest("GET HTTP/1.1\r\n\r\n", &request),
            Opening::kWrong);
  EXPECT_EQ(ParseHttpRequest("PRI * HTTP/2.0\r\n\r\n", &request),
            Opening::kWrong);
}

TEST(HttpRequestTest, AHeadThatGoesOnForTooLongIsWrong) {
  HttpRequest request;
  std::string head = "GET / HTTP/1.1\r\nX: ";
  head.resize(kMaxRequestBytes - 1, 'x');
  EXPECT_EQ(ParseHttpRequest(head, &request), Opening::kIncomplete);
  EXPECT_EQ(ParseHttpRequest(head + "x", &request), Opening::kWrong);
}

}  // namespace
}  // namespace ramvol::metrics
