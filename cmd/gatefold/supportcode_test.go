package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// codeOf returns the support code of a problem.
func codeOf(t *testing.T, refused answer) string {
	t.Helper()
	var problem struct{ SupportCode string }
	decode(t, refused.body, &problem)
	if len(problem.SupportCode) != 8 {
		t.Fatalf("%d %s: no support code", refused.StatusCode, refused.body)
	}
	return problem.SupportCode
}

// A reader is refused at one node; the support desk asks another one for the code, by the command
// and by the API. The reader's erasure there takes the refusal away everywhere, and that of another
// reader stays. Without Redis a refusal has a code, which says that it is not kept.
func TestSupportCodesOnTwoNodes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	here, there := startNode(t, redis.URL(), ""), newNodeWith(t, redis.URL(), "", []byte("the same secret on all nodes\n"))
	text, err := os.ReadFile(there.config)
	if err != nil {
		t.Fatal(err)
	}
	port := keystest.FreePort(t)
	there.writeConfig(string(text) + "\nhttp://127.0.0.1:" + port + " {\n\tbind 127.0.0.1\n\tlog\n\tgatefold_api\n}\n")
	there.start()
	api := "http://127.0.0.1:" + port
	refusedAs := func(user string) string {
		t.Helper()
		got := here.get(here.site+"/articles/hello?page=2", "Authorization", "Bearer "+here.must("token", "reader", "--user", user))
		got.expect(t, http.StatusForbidden, "not_entitled")
		return codeOf(t, got)
	}
	ann, eve := refusedAs("ann"), refusedAs("eve")
	if ann == eve {
		t.Fatal("two readers have one code")
	}
	there.must("grant", "add", "--user", "ann", "--sku", "premium")
	explained := func(code string) (got result) {
		t.Helper()
		there.waitFor("the other node has "+code, func() bool {
			got = there.command("explain", "--code", code)
			return got.code == 0
		})
		return got
	}
	got := explained(ann)
	for _, want := range []string{"not_entitled, status 403", "GET " + strings.TrimPrefix(here.site, "http://") + "/articles/hello", "reader    ann\n", "\nthen:\n", "deny, not_entitled", "\nnow:\n", "allow, entitled"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("explain --code says\n%s\nwithout %q", got.stdout, want)
		}
	}
	explained(eve)
	id, secret := there.client("--scope", "decisions:read")
	token := accessToken(t, api, id, secret)
	read := there.get(api+"/management/decisions/"+ann, "Authorization", "Bearer "+token)
	var refused struct {
		Code, Reason, UserID string
		Then, Now            struct{ Decision struct{ Reason string } }
	}
	decode(t, read.body, &refused)
	if read.StatusCode != http.StatusOK || fmt.Sprint(refused) != fmt.Sprintf("{%s not_entitled ann {{not_entitled}} {{entitled}}}", ann) {
		t.Errorf("%d %s", read.StatusCode, read.body)
	}
	id, secret = there.client("--scope", "links:read")
	there.get(api+"/management/decisions/"+ann, "Authorization", "Bearer "+accessToken(t, api, id, secret)).expect(t, http.StatusForbidden, "")
	there.get(api+"/management/decisions/"+ann).expect(t, http.StatusUnauthorized, "")

	there.must("reader", "erase", "ann", "--yes")
	for _, node := range []*server{here, there} {
		if got := node.command("explain", "--code", ann); got.code != 1 || strings.Contains(got.stdout+got.stderr, "ann\n") {
			t.Errorf("after the erasure: %+v", got)
		}
		if got := node.command("explain", "--code", eve); got.code != 0 || !strings.Contains(got.stdout, "reader    eve\n") {
			t.Errorf("another reader: %+v", got)
		}
	}
	there.get(api+"/management/decisions/"+ann, "Authorization", "Bearer "+token).expect(t, http.StatusNotFound, "")

	unknown := "Bearer " + here.must("token", "reader", "--user", "new")
	redis.Kill()
	var away answer
	here.waitFor("the store is away", func() bool {
		away = here.get(here.site+"/articles/hello", "Authorization", unknown)
		return away.StatusCode == http.StatusServiceUnavailable
	})
	lost := codeOf(t, away)
	redis.Start()
	there.waitFor("the store is back", func() bool { return there.command("explain", "--code", eve).code == 0 })
	if got := there.command("explain", "--code", lost); got.code != 1 || !strings.Contains(got.stderr, "not kept") {
		t.Errorf("a refusal without the store: %+v", got)
	}
	there.get(api+"/management/decisions/"+lost, "Authorization", "Bearer "+token).expect(t, http.StatusNotFound, "not_kept")
}
