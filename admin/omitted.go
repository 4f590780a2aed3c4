package admin

import "net/http"

// omitted are operations of the published contract that Gatefold does not have on purpose, by
// the reason. They are answered 501, so that their callers do not take them for a wrong path.
var omitted = map[string][]string{
	"Gatefold keeps no logins: readers log in with their issuer, which has their password, their second factor and their keys.": {
		"POST /api/users/{user}/activate", "POST /api/users/{user}/api-keys", "PUT /api/users/{user}/otp",
		"PUT /api/users/{user}/password", "PUT /api/users/{user}/ssh-keys",
	},
	"Gatefold sends no messages: send them by its events, or from the answers with keys.": {
		"GET /api/users/{user}/notifications", "PUT /api/users/{user}/notifications", "POST /api/notifications/{template}", "POST /api/contact",
	},
	"Gatefold keeps no contacts of the sales team.": {"GET /api/contacts/{user}/activities", "POST /api/contacts/{user}/activities"},
	"Gatefold has no pages, so it has no themes.":   {"POST /api/themes", "DELETE /api/themes"},
}

// omittedRoutes returns a handler that answers the operations that are left out.
func omittedRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	for reason, patterns := range omitted {
		for _, pattern := range patterns {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
				p := newProblem(http.StatusNotImplemented, reason)
				p.Code = "not_implemented"
				p.write(w)
			})
		}
	}
	return mux
}
