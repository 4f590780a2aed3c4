package command

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// execute runs a command against an admin endpoint and returns its output.
func execute(handler http.HandlerFunc, args ...string) (stdout, stderr string, err error) {
	server := httptest.NewServer(handler)
	defer server.Close()
	return executeAt(strings.TrimPrefix(server.URL, "http://"), args...)
}

// executeAt runs a command with the admin address.
func executeAt(address string, args ...string) (stdout, stderr string, err error) {
	root := &cobra.Command{Use: "gatefold", SilenceErrors: true}
	for _, command := range Commands(Options{Vendor: "default"}) {
		cmd := &cobra.Command{Use: command.Name}
		command.CobraFunc(cmd)
		root.AddCommand(cmd)
	}
	var out, errOut strings.Builder
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(append(args, "--address", address))
	err = root.Execute()
	return out.String(), errOut.String(), err
}

// A command sends one request and prints its answer, without the control characters
// that a stored text may contain.
func TestCommandSendsRequestAndPrintsAnswer(t *testing.T) {
	for _, test := range []struct {
		args                       string
		request, body, answer, out string
	}{
		{
			"grant add --user u --sku premium --ends 2027-01-01", "POST /gatefold/management/access-lists/src_default/grants?vendor=default",
			`{"userId":"u","sku":"premium","endsAt":"2027-01-01T00:00:00Z"}`, `{"id":"grant_1","userId":"u\u001b[31m","sku":"premium"}`,
			"granted premium to u?[31m (grant_1)\n",
		},
		{
			"link create https://site.example/a --max-uses 2 --expires 60 --vendor acme", "POST /gatefold/management/create-signed-link?vendor=acme",
			`{"url":"https://site.example/a","maxUses":2,"expiresIn":"60s"}`, `{"signedUrl":"https://site.example/a?token=t"}`, "https://site.example/a?token=t\n",
		},
		{
			"link create https://site.example/a --max-uses 10 --max-devices 3 --expires 14d --ip-prefix 203.0.113.0/24 --per-reader --starts-at 2027-01-31T06:00:00Z",
			"POST /gatefold/management/create-signed-link?vendor=default",
			`{"url":"https://site.example/a","maxUses":10,"maxDevices":3,"startsAt":"2027-01-31T06:00:00Z","ipPrefix":"203.0.113.0/24","perReader":true,"expiresIn":"14d"}`,
			`{"signedUrl":"https://site.example/a?token=t"}`, "https://site.example/a?token=t\n",
		},
		{
			"link create https://site.example/a --path", "POST /gatefold/management/create-signed-link?vendor=default",
			`{"url":"https://site.example/a","expiresIn":"7d"}`, `{"signedUrl":"https://site.example/a?token=t","pathUrl":"https://site.example/.gatefold/l/t/a"}`,
			"https://site.example/.gatefold/l/t/a\n",
		},
		{"key retire kid/1 --system", "DELETE /gatefold/management/keys/kid%2F1?vendor=_system", "", "", "retired kid/1\n"},
		{"key retire kid --json", "DELETE /gatefold/management/keys/kid?vendor=default", "", "", "{\n  \"kid\": \"kid\",\n  \"status\": \"retired\"\n}\n"},
		{
			"rule add /a entitled premium --rank 0 --no-forward", "POST /gatefold/api/proxy/rules?vendor=default",
			`{"rank":0,"path":"/a","allow":"entitled/{\"sku\":[\"premium\"]}","is_forward":false}`,
			`{"rank":0,"path":"/a","allow":"entitled/{\"sku\":[\"premium\"]}","is_forward":false,"engaged":""}`,
			"added 0 /a entitled/{\"sku\":[\"premium\"]} (not forwarded)\n",
		},
		{"grant export --format csv", "GET /gatefold/management/access-lists/src_default/grants/export?vendor=default", "", "id\n1\n", "id\n1\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var request, body string
			out, _, err := execute(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, SitesPath) {
					http.NotFound(w, r) // a server that cannot tell
					return
				}
				text, _ := io.ReadAll(r.Body)
				request, body = r.Method+" "+r.URL.RequestURI(), string(text)
				fmt.Fprint(w, test.answer)
			}, strings.Fields(test.args)...)
			if err != nil || request != test.request || body != test.body || out != test.out {
				t.Errorf("%v\n%s\n%s\n%q", err, request, body, out)
			}
		})
	}
}

// An error has the detail of the problem and its fields. A refused command prints
// nothing on stdout.
func TestCommandReportsProblem(t *testing.T) {
	for _, test := range []struct {
		status       int
		answer, want string
	}{
		{422, `{"title":"Unprocessable","detail":"validation failed","errors":[{"message":"is required","location":"body.sku"},{"message":"bad"}]}`, "validation failed: sku: is required; bad"},
		{404, `{"title":"Not Found","detail":"There is no such record."}`, "There is no such record."},
		{404, "", "the running server has no Gatefold: it is another Caddy, or an older version"},
		{503, `{"error":"the running configuration has no gatefold directive"}`, "the running configuration has no gatefold directive"},
		{500, "<html>", "the server answered with status 500"},
	} {
		for _, command := range []string{"link show l", "grant export", "link list --json"} {
			out, _, err := execute(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.answer)
			}, strings.Fields(command)...)
			if err == nil || err.Error() != test.want || out != "" {
				t.Errorf("%s: %d %s: %v, stdout %q", command, test.status, test.answer, err, out)
			}
		}
	}
}

// An export whose connection breaks is an error, so that a script does not take a
// part of the grants for all of them.
func TestIncompleteExportFails(t *testing.T) {
	out, _, err := execute(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"id":"grant_1"}`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, "grant", "export")
	if err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("%v, stdout %q", err, out)
	}
}
