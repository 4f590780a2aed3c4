package admin_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Every command of the document is sent in order, and is answered as documented, field by
// field. $CONTRACT is the contract of the answer before. What readers may read is checked after
// each command.
func TestCommandsOfTheContractsDocument(t *testing.T) {
	b := newFixture(t, false)
	reader, ada := policy.Reader{UserID: "r", Email: "reader@example.com"}, policy.Reader{UserID: "a", Email: "ada@example.com"}
	wants := []struct{ premium, archive bool }{
		{}, {}, {true, false}, {true, false}, {true, false}, {}, // the telecom: promo, order, confirmation, entitlements, renewal, cancellation
		{}, {false, true}, {false, true}, {false, true}, // the library: contract, seat, seats, list
	}
	blocks, sent, contract := documentBlocks(t, "../docs/contracts.md"), 0, ""
	for i, command := range blocks {
		if command.language != "sh" {
			continue
		}
		b.clock = b.clock.Add(time.Second)
		got := b.curl("acme", strings.ReplaceAll(command.text, "$CONTRACT", contract))
		if got.code != http.StatusOK && got.code != http.StatusCreated {
			t.Fatalf("%s%d %s", command.text, got.code, got.body)
		}
		var answered any
		parse(t, got.body, &answered)
		if i+1 < len(blocks) && blocks[i+1].language == "json" {
			var want any
			parse(t, blocks[i+1].text, &want)
			if text := differs("the answer", want, answered); text != "" {
				t.Errorf("%s%s", command.text, text)
			}
			for _, sum := range regexp.MustCompile(`"price": ([0-9.]+)`).FindAllStringSubmatch(blocks[i+1].text, -1) {
				if !strings.Contains(got.body, `"price":`+sum[1]+",") {
					t.Errorf("the price is not %s: %s", sum[1], got.body)
				}
			}
		}
		if id, ok := node(answered)["id"].(string); ok {
			contract = id
		}
		if sent == len(wants) {
			t.Fatal("the document has more commands than this test knows")
		}
		if premium, archive := b.reads("premium", reader), b.reads("archive", ada); premium != wants[sent].premium || archive != wants[sent].archive {
			t.Errorf("after %spremium is read: %v, the archive: %v", command.text, premium, archive)
		}
		sent++
	}
	if sent != len(wants) {
		t.Errorf("the document has %d commands", sent)
	}
}

// The table of the document says what each step does in each status.
func TestStatesOfTheContractsDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/contracts.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([A-Z_]+) \| [^|]+ \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(string(text), -1)
	if len(rows) != 6 {
		t.Fatalf("the table has %d states", len(rows))
	}
	steps := []struct{ method, path, body string }{
		{http.MethodPost, "", `{}`},
		{http.MethodPost, "/cancel", `{"at":"NOW"}`},
		{http.MethodPost, "/renew", `{"expiresAt":"2036-01-01T00:00:00Z"}`},
		{http.MethodPatch, "", `{"name":"Another name"}`},
		{http.MethodPost, "/transfer", `{"ownerData":{"userId":"another"}}`},
		{http.MethodPut, "/seats", `{"seats":7}`},
	}
	for _, row := range rows {
		for n, step := range steps {
			b := newFixture(t, true)
			path := b.contractIn(row[1])
			id := path[strings.LastIndex(path, "/")+1:]
			to := path + step.path
			if n == 0 {
				to = salePath + "/confirm/" + id
			}
			before := b.call(http.MethodGet, path, "").want(http.StatusOK, nil).body
			if !strings.Contains(before, `"status":"`+row[1]+`"`) {
				t.Fatalf("a contract that is to be %s: %s", row[1], before)
			}
			got := b.call(step.method, to, step.body)
			after := b.call(http.MethodGet, path, "").body
			is := fmt.Sprint(got.code)
			switch {
			case got.code == http.StatusOK && after == before:
				is = "no change"
			case got.code == http.StatusOK:
				is = "yes"
			case after != before:
				t.Errorf("%s of %s was refused, and changed it", step.path, row[1])
			}
			if is != row[2+n] {
				t.Errorf("%s: step %d is %q, the document says %q: %s", row[1], n, is, row[2+n], got.body)
			}
		}
	}
}

// contractIn returns the path of a contract in a status.
func (b *fixture) contractIn(status string) string {
	b.Helper()
	b.call(http.MethodPost, "/management/promos", telecom).want(http.StatusCreated, nil)
	confirm := "?confirm=1"
	if status == "UNCONFIRMED" || status == "ABANDONED" {
		confirm = ""
	}
	var made contract
	b.call(http.MethodPost, salePath+confirm, order("o-1", nil)).want(http.StatusCreated, &made)
	path := "/management/contracts/" + made.ID
	b.clock = b.clock.Add(time.Second)
	switch status {
	case "ABANDONED", "EXPIRED":
		b.clock = b.clock.AddDate(0, 0, 40)
	case "CANCEL_REQUESTED":
		b.call(http.MethodPost, path+"/cancel", `{}`).want(http.StatusOK, nil)
	case "CANCELED":
		b.call(http.MethodPost, path+"/cancel", `{"at":"NOW"}`).want(http.StatusOK, nil)
	}
	b.clock = b.clock.Add(time.Second)
	return path
}
