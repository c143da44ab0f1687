// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"time"
)

//go:embed page
var files embed.FS

// The page works with this Content-Security-Policy and needs nothing more.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// kinds maps file extensions to content types. The types of the system may be wrong, and
// browsers then refuse the files.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// asset is one file of the page. Read-only.
type asset struct {
	data []byte
	tag  string // the ETag
	kind string
}

// assets maps names to files; the page itself is "".
type assets map[string]asset

const indexFile = "index.html"

// load returns the files of the page. With control, the page can change pools.
func load(control bool) assets {
	entries, err := files.ReadDir("page")
	if err != nil {
		panic(err) // the file is embedded
	}
	all := make(assets)
	for _, e := range entries {
		data, err := files.ReadFile("page/" + e.Name())
		if err != nil {
			panic(err)
		}
		name := e.Name()
		if name == indexFile {
			name = ""
			if control {
				data = bytes.Replace(data, []byte(`data-mode="view"`), []byte(`data-mode="control"`), 1)
			}
		}
		sum := sha256.Sum256(data)
		all[name] = asset{data, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, kinds[path.Ext(e.Name())]}
	}
	return all
}

// serve answers with the file of a name. It returns false if there is none.
func (all assets) serve(w http.ResponseWriter, r *http.Request, name string) bool {
	a, ok := all[name]
	if !ok {
		return false
	}
	if !readOnly(w, r) {
		return true
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Set("Cache-Control", "no-cache") // revalidate on each use
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Caddy's admin endpoint requires the referrer of requests by the page.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
	return true
}

// readOnly reports whether a request is a GET or HEAD, and refuses others.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	w.WriteHeader(http.StatusMethodNotAllowed)
	return false
}
