package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A sale by the generated TypeScript client, from the promo to the cancellation: the page is
// closed after the order, opens at the next request after the confirmation, and is closed at
// the next one after cancelling at once.
func TestGeneratedClientSells(t *testing.T) {
	t.Parallel()
	s, api := startAPI(t)
	document := s.get(api + "/openapi.json")
	document.expect(t, http.StatusOK, "")
	n := newNode(t, "typescript")
	n.write("openapi.json", []byte(document.body))
	n.bin("openapi-typescript", "openapi.json", "--default-non-nullable", "false", "-o", "schema.d.ts")
	n.bin("tsc", "-p", "tsconfig.json")
	seller, sellerSecret := s.client("--scope", "payments:contract:third-party-onboarding")
	office, officeSecret := s.client("--scope", "contracts:*")
	bearer := []string{"Authorization", "Bearer " + s.must("token", "reader", "--user", "reader-of-a-sale")}
	page := s.site + "/articles/hello"
	s.get(page, bearer...).expect(t, http.StatusForbidden, "not_entitled")

	cmd := exec.CommandContext(t.Context(), "node", "built/sale.js")
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "API="+api, "VENDOR="+vendorOf(t, s), "READER=reader-of-a-sale", "SELLER_ID="+seller, "SELLER_SECRET="+sellerSecret,
		"OFFICE_ID="+office, "OFFICE_SECRET="+officeSecret)
	var failed strings.Builder
	cmd.Stderr = &failed
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if errIn != nil || errOut != nil || cmd.Start() != nil {
		t.Fatal("node does not start")
	}
	lines := bufio.NewScanner(out)
	for _, want := range []struct {
		step, status string
		code         int
		reason       string
	}{
		{"sold", "UNCONFIRMED", http.StatusForbidden, "not_entitled"},
		{"confirmed", "ACTIVE", http.StatusOK, ""},
		{"canceled", "CANCELED", http.StatusForbidden, "not_entitled"},
	} {
		var got struct {
			Step, Status string
			IsActive     bool
			Price        float64
		}
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &got) != nil {
			_ = in.Close()
			_ = cmd.Wait()
			t.Fatalf("before %s: %s%s", want.step, lines.Text(), failed.String())
		}
		if got.Step != want.step || got.Status != want.status || got.IsActive != (want.code == http.StatusOK) || got.Price != 9.9 {
			t.Errorf("%+v, want %s", got, want.step)
		}
		s.get(page, bearer...).expect(t, want.code, want.reason)
		if _, err := io.WriteString(in, "go on\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, failed.String())
	}
}

// vendorOf returns the vendor of the site.
func vendorOf(t *testing.T, s *server) string {
	t.Helper()
	var clients []struct{ Vendor string }
	decode(t, s.must("client", "list", "--json"), &clients)
	return clients[0].Vendor
}
