package upstreamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// cacheTests is the folder that .ci/cachetests made: below one of the folders on the path.
func cacheTests(t *testing.T) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "cachetests", "stamp")); err == nil {
			return filepath.Join(dir, "cachetests")
		}
	}
	t.Fatal("http-cache-tests are missing: run `make test`, or `.ci/cachetests <folder>` and put the folder on the path")
	return ""
}

// cacheTestResult is the result of one test, as testdata/cachetests/run.mjs prints it. Tests
// of the kind check only ask how a cache behaves: none of the answers is wrong.
type cacheTestResult struct {
	ID, Kind, Message string
	Passed            bool
}

// The page cache passes every test of http-cache-tests that judges a cache, by "required" or
// "optimal", except for those in testdata/cachetests/exceptions.txt, with the reason of each. A
// test that passes is no exception.
func TestHTTPCacheTests(t *testing.T) {
	t.Parallel()
	folder := cacheTests(t)
	ports := keystest.FreePorts(t, 2)
	dir := t.TempDir()
	config := filepath.Join(dir, "Caddyfile")
	text := fmt.Sprintf(`{
	admin off
	auto_https off
	storage file_system %[1]s
	gatefold {
		store bolt %[1]s/gatefold.db
	}
}

http://127.0.0.1:%[2]s {
	gatefold {
		rule /test GET,HEAD,POST,PUT,DELETE,M-SEARCH {
			any
			cache
		}
		rule / any
	}
	gatefold_cache {
		headers Foo Bar Baz Abc Accept-Language
	}
	reverse_proxy 127.0.0.1:%[3]s
}
`, dir, ports[0], ports[1])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := run(t, dir, os.Environ(), binary, "run", "--config", config)
	gate.waitForPort(t, "tcp", "127.0.0.1:"+ports[0])
	node := exec.CommandContext(t.Context(), "node", "testdata/cachetests/run.mjs", folder, ports[1], "http://127.0.0.1:"+ports[0])
	var problems bytes.Buffer
	node.Stderr = &problems
	output, err := node.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, output, &problems)
	}
	var results []cacheTestResult
	if err := json.Unmarshal(output, &results); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	exceptions := cacheTestExceptions(t)
	judged, passed := 0, 0
	for _, r := range results {
		reason, excepted := exceptions[r.ID]
		delete(exceptions, r.ID)
		switch {
		case r.Kind == "check":
			if excepted {
				t.Errorf("%s asks only how a cache behaves: leave out its exception", r.ID)
			}
			continue
		case !r.Passed && !excepted:
			t.Errorf("%s (%s): %s", r.ID, r.Kind, r.Message)
		case r.Passed && excepted:
			t.Errorf("%s passes, but is an exception: %s", r.ID, reason)
		case r.Passed:
			passed++
		}
		judged++
	}
	for id := range exceptions {
		t.Errorf("there is no test %s", id)
	}
	if passed < 150 {
		t.Errorf("of %d tests %d pass, want at least 130", judged, passed)
	}
	t.Logf("%d of %d tests pass, and %d of %d are listed as exceptions", passed, judged, judged-passed, judged)
}

// cacheTestExceptions returns the reason of each exception, by the test's id. The file has
// reasons, as lines that end with a colon, and below each the tests, indented.
func cacheTestExceptions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/cachetests/exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	exceptions, reason := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasSuffix(line, ":"):
			reason = strings.TrimSuffix(line, ":")
		case reason == "" || !strings.HasPrefix(line, "  "):
			t.Fatalf("testdata/cachetests/exceptions.txt: %q is neither a reason nor a test", line)
		default:
			for id := range strings.FieldsSeq(line) {
				exceptions[id] = reason
			}
		}
	}
	return exceptions
}
