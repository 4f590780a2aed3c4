package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// importForms send rows of grants, each by another way of importing.
var importForms = map[string]func(b *fixture, id string, columns, values []string) string{
	"batch": func(b *fixture, id string, columns, values []string) string {
		return b.call(http.MethodPost, batchPath, fmt.Sprintf(`{"importId":%q,"position":0,"grants":[%s]}`, id, rowObject(columns, values))).want(http.StatusOK, nil).body
	},
	"NDJSON": func(b *fixture, _ string, columns, values []string) string {
		return b.send("acme", http.MethodPost, importPath, rowObject(columns, values), http.Header{"Content-Type": {"application/x-ndjson"}}).want(http.StatusOK, nil).body
	},
	"CSV": func(b *fixture, _ string, columns, values []string) string {
		file := strings.Join(columns, ",") + "\n" + strings.Join(values, ",") + "\n"
		return b.send("acme", http.MethodPost, importPath, file, http.Header{"Content-Type": {"text/csv"}}).want(http.StatusOK, nil).body
	},
}

// rowObject returns a row as JSON. A field without a value is null.
func rowObject(columns, values []string) string {
	row := map[string]any{}
	for i, column := range columns {
		if row[column] = any(values[i]); values[i] == "" {
			row[column] = nil
		}
	}
	return encoded(row)
}

// A publisher closes a reader's grant: by its status, by an end, or by a start that is to
// come. The nightly file of the old system, which has no such columns or has them empty,
// opens nothing. Only a file that names the state does.
func TestImportDoesNotOpenWhatIsClosed(t *testing.T) {
	b := newFixture(t, false)
	past, future := b.clock.Add(-24*time.Hour).Format(time.RFC3339), b.clock.Add(24*time.Hour).Format(time.RFC3339)
	n := 0
	for form, send := range importForms {
		for _, closed := range []struct{ member, value, other string }{
			{"status", "INACTIVE", ""},
			{"status", "CANCELED", ""},
			{"endsAt", past, "startsAt"},
			{"endsAt", future, "startsAt"},
			{"startsAt", future, "endsAt"},
		} {
			var made struct{ ID string }
			n++
			user := fmt.Sprint("user-", n)
			b.call(http.MethodPost, defaultPath, fmt.Sprintf(`{"userId":%q,"sku":"s",%q:%q}`, user, closed.member, closed.value)).want(http.StatusCreated, &made)
			one := defaultPath + "/" + made.ID
			before := b.call(http.MethodGet, one, "").fields()[closed.member]
			rows := [][2][]string{
				{{"userId", "sku"}, {user, "s"}},
				{{"userId", "sku", "notes"}, {user, "s", "changed"}},
			}
			if closed.other != "" {
				rows = append(rows,
					[2][]string{{"userId", "sku", "status", "notes"}, {user, "s", "ACTIVE", "named"}},
					[2][]string{{"userId", "sku", closed.member, "notes"}, {user, "s", "", "null"}},
					[2][]string{{"userId", "sku", "status", closed.other, "notes"}, {user, "s", "ACTIVE", "", "other"}})
			}
			for i, row := range rows {
				got := send(b, fmt.Sprint(n, ".", i), row[0], row[1])
				if after := b.call(http.MethodGet, one, "").fields()[closed.member]; after != before || strings.Contains(got, `"created":1`) {
					t.Errorf("%s of %v makes %s %v of %v: %s", form, row, closed.member, after, before, got)
				}
			}
			// Named, it opens.
			columns, values := []string{"userId", "sku", "status"}, []string{user, "s", "ACTIVE"}
			if closed.other != "" {
				columns, values = append(columns, closed.member), append(values, "")
			}
			send(b, fmt.Sprint(n, ".open"), columns, values)
			fields := b.call(http.MethodGet, one, "").fields()
			if fields["status"] != "ACTIVE" || fields["startsAt"] != nil || fields["endsAt"] != nil {
				t.Errorf("%s: named, it is not opened: %v", form, fields)
			}
		}
	}
}

// A row whose start does not fit the end that it leaves is refused, and changes nothing.
func TestImportedTimesMustFitThoseThatAreKept(t *testing.T) {
	b := newFixture(t, false)
	var made struct{ ID string }
	b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"s","endsAt":"2026-01-01T00:00:00Z"}`).want(http.StatusCreated, &made)
	var done struct {
		Created, Changed int
		Errors           []struct {
			Row   int
			Field string
		}
	}
	b.call(http.MethodPost, batchPath, `{"importId":"x","position":0,"grants":[
		{"userId":"v","sku":"s"},{"userId":"u","sku":"s","startsAt":"2027-01-01T00:00:00Z"},{"sku":"s"}
	]}`).want(http.StatusOK, &done)
	if done.Created != 1 || done.Changed != 0 || len(done.Errors) != 2 || done.Errors[0].Row != 1 || done.Errors[0].Field != "endsAt" || done.Errors[1].Row != 2 {
		t.Errorf("the answer is %+v", done)
	}
	if fields := b.call(http.MethodGet, defaultPath+"/"+made.ID, "").fields(); fields["startsAt"] != nil {
		t.Errorf("it is changed: %v", fields)
	}
	var state struct{ Position, Created, Changed, Unchanged, Failed int }
	b.call(http.MethodGet, defaultPath+"/imports/x", "").want(http.StatusOK, &state)
	if state.Created+state.Changed+state.Unchanged+state.Failed != state.Position {
		t.Errorf("the counts do not add up: %+v", state)
	}
}

// A site imports its records again with a file that does not have the members by which it
// closed some: a deactivated user and profile, an ended role, a subscription with a balance
// due, a plan whose requests have to be accepted. They stay so, unless a row names the member.
func TestRecordImportDoesNotOpenWhatIsClosed(t *testing.T) {
	b := newFixture(t, true)
	for _, kind := range []struct{ name, row, closed, open string }{
		{"users", `"slug":"ann"`, `"is_active":false`, `"is_active":true`},
		{"profiles", `"slug":"abc","is_provider":true`, `"is_active":false`, `"is_active":true`},
		{"plans", `"slug":"gold","profile":"abc","title":"Gold"`, `"optin_on_request":true`, `"optin_on_request":false`},
		{"roles", `"profile":"abc","user":"ann","role":"contributor"`, `"ends_at":"2026-01-01T00:00:00Z"`, `"ends_at":"2037-01-01T00:00:00Z"`},
		{"subscriptions", `"profile":"abc","plan":"gold","created_at":"2026-01-01T00:00:00Z","ends_at":"2037-01-01T00:00:00Z"`, `"balance_due":true`, `"balance_due":false`},
	} {
		name, _, _ := strings.Cut(kind.closed, ":")
		for _, step := range []struct{ sent, is string }{
			{"," + kind.closed, kind.closed},
			{`,"extra":1`, kind.closed},
			{"," + name + ":null", kind.closed},
			{"," + kind.open, kind.open},
		} {
			done := b.importRecords("acme", kind.name, "", "{"+kind.row+step.sent+"}")
			if text := b.exportRecords("acme", kind.name); !strings.Contains(text, step.is) {
				t.Errorf("%s: %s makes %s: %+v", kind.name, step.sent, text, done)
			}
		}
	}
}
