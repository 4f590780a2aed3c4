package caddymodule

import (
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/policy/store"
)

// withoutOperation does what an operation on roles would, while the API has none at its path:
// then a story goes on with the same records. It returns false for all others.
func (s *coworkSite) withoutOperation(method, path, body string) (members map[string]any, known bool) {
	s.Helper()
	w := s.running().store.As(store.Actor{})
	parts := append(strings.Split(path, "/"), "", "", "", "")
	field := func(name string) string {
		_, value, _ := strings.Cut(body, `"`+name+`": "`)
		value, _, _ = strings.Cut(value, `"`)
		return value
	}
	var err error
	var made store.GrantedRole
	switch {
	case strings.HasSuffix(path, "/roles/describe"):
		_, err = w.CreateRoleType(s.Context(), cowork, store.RoleType{Slug: strings.ToLower(field("title")), Title: field("title")})
	case method == http.MethodPost && parts[2] == "users" && parts[4] == "profiles":
		s.stream("profiles", row{"slug": field("slug"), "full_name": field("full_name")})
		s.stream("roles", row{"profile": field("slug"), "user": parts[3], "role": "manager"})
	case method == http.MethodPost && parts[2] == "users" && parts[4] == "accessibles":
		made, err = w.RequestRole(s.Context(), cowork, field("slug"), store.User{Slug: parts[3]}, parts[5], nil)
	case method == http.MethodPost && parts[4] == "roles":
		made, err = w.GrantRole(s.Context(), cowork, store.RoleGrant{Profile: parts[3], User: field("slug"), Type: parts[5]})
	case method == http.MethodPut && parts[5] == "accept":
		_, err = w.AcceptRole(s.Context(), cowork, parts[3], parts[6])
	case method == http.MethodDelete && parts[4] == "roles":
		err = w.RemoveRole(s.Context(), cowork, parts[3], parts[6], true, nil)
	default:
		return nil, false
	}
	if err != nil {
		s.Fatal(method, path, err)
	}
	return map[string]any{"grant_key": made.Key}, true
}
