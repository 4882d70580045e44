"""Questions to a running job with --at: what is refused, and how, where nobody or somebody else answers."""

import http.server
import threading
import unittest

from harness import Case


class At(Case):
    def test_options_of_the_job_itself_are_refused(self):
        for command, options, naming in [
                ("query", ["events.csv"], "a STREAM cannot be given"),
                ("query", ["--n", "5"], "--n cannot be given"),
                ("query", ["--state", "s.weir"], "--state cannot be given"),
                ("query", ["--labels", "names.txt"], "--labels cannot be given"),
                ("sample", ["--sampler", "exact"], "--sampler cannot be given"),
                ("sample", ["--save", "s.weir"], "--save cannot be given")]:
            with self.subTest(options=options):
                self.fail_with(2, command, "--at", "tcp:1", *options, naming=naming)

    def test_addresses_are_checked(self):
        for address in ["", "weir.sock", "unix:", "tcp:host:x", "unix:" + 200 * "a"]:
            with self.subTest(address=address):
                self.fail_with(2, "query", "--at", address, naming="--at")

    def test_nobody_answers(self):
        address = "unix:" + self.path("none.sock")
        for command in ["query", "sample"]:
            self.fail_with(1, command, "--at", address, naming=[address, "nobody answers there", "--serve"])
        self.fail_with(1, "inspect", address, naming=[address, "nobody answers there"])

    def test_under_a_launcher_one_process_asks(self):
        self.fail_with(1, "query", "--at", "unix:" + self.path("none.sock"), naming="nobody answers there", ranks=3)

    def test_somebody_else_answers(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            address = "tcp:127.0.0.1:%d" % server.server_port
            self.fail_with(1, "query", "--at", address, naming=[address, "not a running weir"])
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


if __name__ == "__main__":
    unittest.main()
