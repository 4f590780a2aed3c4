package main

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")
	token := s.must("token", "reader", "--user", "u")

	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{s.site + "/articles/hello", "--user", "u"}, "deny, not_entitled"},
		{[]string{s.site + "/articles/hello", "--token", token}, "deny, not_entitled"},
		{[]string{link}, "spending one use"},
		{[]string{s.site + "/account", "--method", "post"}, "deny, login_required"},
	} {
		if got := s.must(append([]string{"explain"}, test.args...)...); !strings.Contains(got, test.want) || !strings.Contains(got, "hint ") {
			t.Errorf("explain %q says\n%s\nwant %q", test.args, got, test.want)
		}
	}
	var result struct {
		Decision struct {
			Reason string
			Status int
		}
	}
	decode(t, s.must("explain", s.site+"/articles/hello", "--json"), &result)
	if result.Decision.Reason != "login_required" || result.Decision.Status != 401 {
		t.Errorf("explain --json says %+v", result)
	}
	for _, args := range [][]string{
		{"explain"}, {"explain", "not a url"}, {"explain", s.site + "/", "--site", "none"}, {"explain", s.site + "/", "--user", "u", "--token", "t"},
	} {
		if got := s.command(args...); got.code != 1 || got.stdout != "" || got.stderr == "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
	// Nothing was spent.
	s.get(link).expect(t, 200, "")
}

// A support desk enters the code that a refused reader has, and sees what was refused, then and
// now.
func TestExplainCode(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	got := s.get(s.site+"/articles/hello?page=2", "Authorization", "Bearer "+s.must("token", "reader", "--user", "ann"))
	got.expect(t, 403, "not_entitled")
	var problem struct{ SupportCode string }
	decode(t, got.body, &problem)
	code := problem.SupportCode
	var explained result
	s.waitFor("the refusal is kept", func() bool {
		explained = s.command("explain", "--code", strings.ToLower(code[:4]+"-"+code[4:]))
		return explained.code == 0
	})
	s.must("grant", "add", "--user", "ann", "--sku", "premium")
	explained = s.command("explain", "--code", code)
	for _, want := range []string{"not_entitled, status 403", "with the parameters page", "reader    ann\n", "\nthen:\n", "deny, not_entitled", "\nnow:\n", "allow, entitled"} {
		if !strings.Contains(explained.stdout, want) {
			t.Errorf("explain --code says\n%s\nwithout %q", explained.stdout, want)
		}
	}
	for _, args := range [][]string{{"--code", ""}, {"--code", "none"}, {s.site + "/", "--code", code}, {"--code", code, "--user", "ann"}} {
		if got := s.command(append([]string{"explain"}, args...)...); got.code != 1 || got.stdout != "" || got.stderr == "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
