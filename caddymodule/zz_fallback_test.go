package caddymodule

import (
	"net/http"
	"strings"

	"github.com/gatefold/gatefold/policy/store"
)

func (s *coworkSite) fallback(method, path, body string) bool {
	w := s.running().store.As(store.Actor{})
	parts := strings.Split(path, "/")
	_, value, _ := strings.Cut(body, `": "`)
	value, _, _ = strings.Cut(value, `"`)
	var err error
	parts = append(parts, "", "")
	switch {
	case strings.HasSuffix(path, "/roles/describe"):
		_, err = w.CreateRoleType(s.Context(), cowork, store.RoleType{Slug: "support", Title: value})
	case method == http.MethodPost && strings.Contains(path, "/roles/"):
		_, err = w.GrantRole(s.Context(), cowork, store.RoleGrant{Profile: parts[3], User: value, Type: parts[5]})
	case method == http.MethodPost && strings.Contains(path, "/accessibles/"):
		_, err = w.RequestRole(s.Context(), cowork, value, store.User{Slug: parts[3]}, parts[5], nil)
	case method == http.MethodDelete && strings.Contains(path, "/roles/"):
		err = w.RemoveRole(s.Context(), cowork, parts[3], parts[6], true, nil)
	default:
		return false
	}
	if err != nil {
		s.Fatal(path, err)
	}
	return true
}
