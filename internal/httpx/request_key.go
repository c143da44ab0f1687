// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/cespare/xxhash/v2"
)

// The sources of a key.
const (
	keyClientIP = "client_ip"
	keyURI      = "uri"
	keyPath     = "path"
	keyHost     = "host"
	keyHeader   = "header"
	keyQuery    = "query"
	keyCookie   = "cookie"
)

// KeyChoice lists the sources, for errors.
const KeyChoice = "client_ip, uri, path, host, header <field>, query <name>, cookie <name>, or a text with placeholders"

// RequestKey is the part of a request that is its key. Read-only. The hash of a key is the same
// in every process and on every instance.
type RequestKey struct {
	source, name string
	blank        string // the text with all placeholders empty
}

// KeyTakesName reports whether a source needs a name.
func KeyTakesName(source string) bool {
	return source == keyHeader || source == keyQuery || source == keyCookie
}

// NewRequestKey returns the key of a source, such as "header", and a name, which some sources
// need.
func NewRequestKey(source, name string) (RequestKey, error) {
	k := RequestKey{source: source, name: name}
	switch source {
	case keyClientIP, keyURI, keyPath, keyHost:
	case keyHeader, keyQuery, keyCookie:
		if name == "" {
			return k, fmt.Errorf("the key `%s` needs a name; write %s <name>, in JSON key_name", source, source)
		}
		switch source {
		case keyHeader:
			k.name = textproto.CanonicalMIMEHeaderKey(name)
			return k, CheckField("the key `header`", name)
		case keyCookie:
			return k, CheckCookie("the key `cookie`", name)
		}
		return k, nil
	case "":
		return k, fmt.Errorf("the key is missing; write one of: %s", KeyChoice)
	default:
		k.blank = caddy.NewEmptyReplacer().ReplaceAll(source, "")
		if k.blank == source {
			return k, fmt.Errorf("unknown key %q; write one of: %s", source, KeyChoice)
		}
	}
	if name != "" {
		return k, fmt.Errorf("the key `%s` takes no name, got %q", source, name)
	}
	return k, nil
}

// placeholder matches a placeholder, and ofConnection one that a connection without HTTP may have.
var (
	placeholder  = regexp.MustCompile(`\{[^{}]+\}`)
	ofConnection = regexp.MustCompile(`^\{(?:l4|env|system|time|file)\.`)
)

// CheckConnections returns an error if only requests have the key, and not connections that carry
// no HTTP.
func (k *RequestKey) CheckConnections() error {
	const instead = "write client_ip, or a text with placeholders such as {l4.tls.server_name}"
	if k.source == keyClientIP {
		return nil
	}
	if k.blank == "" && !placeholder.MatchString(k.source) {
		return fmt.Errorf("the key `%s` is part of an HTTP request, which a connection has none of; %s", k.source, instead)
	}
	for _, name := range placeholder.FindAllString(k.source, -1) {
		if !ofConnection.MatchString(name) {
			return fmt.Errorf("the placeholder %s in the key is not one of a connection; %s", name, instead)
		}
	}
	return nil
}

// Hash returns the hash of the request's key, and whether the request has a key.
func (k *RequestKey) Hash(r *http.Request) (uint64, bool) {
	var s string
	switch k.source {
	case keyClientIP:
		s, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		s = withoutPort(s)
	case keyURI:
		s = r.RequestURI
	case keyPath:
		s = r.URL.Path
	case keyHost:
		s = strings.ToLower(withoutPort(r.Host))
	case keyHeader:
		if k.name == "Host" { // net/http moves it out of the header
			s = strings.ToLower(r.Host)
			break
		}
		values := r.Header[k.name]
		if len(values) > 1 {
			return hashHeader(values)
		}
		if len(values) == 1 {
			s = values[0]
		}
	case keyQuery:
		return hashQuery(r.URL.RawQuery, k.name)
	case keyCookie:
		s = RequestCookies(r.Header["Cookie"], k.name)
	default:
		repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return 0, false
		}
		if s = repl.ReplaceAll(k.source, ""); s == k.blank {
			return 0, false
		}
	}
	return xxhash.Sum64String(s), s != ""
}

// withoutPort removes the port and the brackets from a host or an IP address.
func withoutPort(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return host[1:end]
		}
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && strings.LastIndexByte(host, ':') == i {
		return host[:i]
	}
	return host
}

// hashHeader hashes several lines of a field as the equivalent single line (RFC 9110, 5.3).
// Otherwise a client could choose its backend with a line that the backend ignores.
func hashHeader(values []string) (uint64, bool) {
	var d xxhash.Digest
	d.Reset()
	empty := true
	for i, v := range values {
		if i > 0 {
			_, _ = d.WriteString(", ")
		}
		_, _ = d.WriteString(v)
		empty = empty && v == ""
	}
	return d.Sum64(), !empty
}

// hashQuery hashes all values of a parameter, as [url.ParseQuery] reads them. It allocates only
// for escaped text.
func hashQuery(query, name string) (uint64, bool) {
	var d xxhash.Digest
	d.Reset()
	found, empty := false, true
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if strings.Contains(pair, ";") {
			continue
		}
		field, value, _ := strings.Cut(pair, "=")
		if field != name {
			if !strings.ContainsAny(field, "%+") {
				continue
			}
			if unescaped, err := url.QueryUnescape(field); err != nil || unescaped != name {
				continue
			}
		} else if strings.ContainsAny(name, "%+") {
			continue
		}
		value, err := url.QueryUnescape(value)
		if err != nil {
			continue
		}
		if found {
			_, _ = d.WriteString(",")
		}
		_, _ = d.WriteString(value)
		found, empty = true, empty && value == ""
	}
	return d.Sum64(), !empty
}

// RequestCookies returns the value of the first cookie of that name in the lines of a Cookie
// field, without quotes around it; empty if there is none.
func RequestCookies(lines []string, name string) string {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			field, value, ok := strings.Cut(textproto.TrimString(pair), "=")
			if !ok || field != name {
				continue
			}
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return value
		}
	}
	return ""
}
