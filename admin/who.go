// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"net/http"
	"os"
	"os/user"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// The header fields with which a client names the person and the program that request a change. They are not
// authenticated: everyone who may use the admin endpoint may change pools.
const (
	userField   = "Ballast-User"   // such as alice
	clientField = "Ballast-Client" // such as dashboard; by default the product of User-Agent
)

// maxWord bounds each of the two, in bytes.
const maxWord = 64

// whoAsks returns who requests a change, for events and the log, such as alice@10.0.0.7 (curl). The certificate of
// a client of Caddy's remote administration takes precedence over the header fields.
func whoAsks(r *http.Request) string {
	name := r.Header.Get(userField)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		name = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	client := r.Header.Get(clientField)
	if client == "" {
		client, _, _ = strings.Cut(r.UserAgent(), "/")
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || from == "" {
		from = "socket"
	}
	if name = readable(name); name != "" {
		from = name + "@" + from
	}
	if client = readable(client); client != "" {
		from += " (" + client + ")"
	}
	return from
}

// readable returns a text from a client without what cannot be shown in one line.
func readable(text string) string {
	if !names.Readable(text) {
		return "?"
	}
	return clip.To(text, maxWord)
}

// sayWho adds the header fields for the user of this command to a request.
func sayWho(header http.Header, client string) {
	header.Set(clientField, client)
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	if names.Readable(name) {
		header.Set(userField, name)
	}
}
