import types
import unittest

import grpc_api
from errors import BenchError


class GrpcApiTest(unittest.TestCase):
    def test_rows_follow_notes(self):
        rows = grpc_api.parse_rows('listening\n{"rows": [{"name": "unary"}]}')
        self.assertEqual(rows, [{"name": "unary"}])

    def test_what_is_no_report_is_an_error(self):
        for text in ("", "crashed", '{"lines": []}', '{"rows": [{}]}'):
            with self.assertRaises(BenchError):
                grpc_api.parse_rows(text)

    def test_a_missing_binary_is_named(self):
        with self.assertRaisesRegex(BenchError, "/nowhere/grpc_compare"):
            programs = types.SimpleNamespace(grpc_compare="/nowhere/grpc_compare")
            grpc_api.run(programs, 1)


if __name__ == "__main__":
    unittest.main()
