// LeadPulse's pixel. window.lp('page'), lp('track', TYPE, DATA), lp('identify', TOKEN, TRAITS), lp('consent', true|false).
// The server sets the visitor's cookie. Nothing is kept or sent before consent where the site asks for it.
(function (w, d) {
  'use strict'
  var me = d.currentScript, n = w.navigator, KEY = 'lp_queue', YES = 'lp_consent', SESSION = 'lp_session'
  if (!me || w.lp && w.lp.on) return
  var to = me.src.replace(/lp\.js.*$/, 'e'), off = n.globalPrivacyControl || n.webdriver && !me.dataset.test || RESPECT_DNT && n.doNotTrack == '1'
  var ok = !CONSENT_REQUIRED, queue = [], view, token = '', traits, tries = 0, timer, busy, soon, waiting = (w.lp && w.lp.q) || []
  var get = function (k) { try { return w.localStorage.getItem(k) } catch (e) { return null } }
  var set = function (k, v) { try { v == null ? w.localStorage.removeItem(k) : w.localStorage.setItem(k, v) } catch (e) {} }
  var id = function () {
    if (w.crypto.randomUUID) return w.crypto.randomUUID()
    var h = [].map.call(w.crypto.getRandomValues(new Uint8Array(16)), function (b) { return (b + 256).toString(16).slice(1) }).join('')
    return h.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }
  var now = function () { return Date.now() }
  var save = function () { set(KEY, queue.length ? JSON.stringify(queue.slice(-200)) : null) }
  // A session ends after half an hour without an event.
  var session = function () {
    var held = (get(SESSION) || '').split(' '), s = now() - held[1] < 18e5 ? held[0] : id()
    set(SESSION, s + ' ' + now())
    return s
  }
  var add = function (type, data, at) {
    data.session_id = data.session_id || session()
    queue.push({ id: id(), type: type, at: at || now(), data: data })
    save()
  }
  var flush = function (closing) {
    if (off || !ok || busy && !closing || !(queue.length || token)) return
    if (n.onLine === false) return
    var some = queue.slice(0, 40), body = JSON.stringify({ sent: now(), consent: true, events: some, identify: token, traits: traits })
    var gone = function () { queue = queue.filter(function (e) { return some.indexOf(e) < 0 }); token = ''; traits = undefined; save() }
    if (closing && n.sendBeacon && n.sendBeacon(to, body)) return gone()
    busy = true
    w.fetch(to, { method: 'POST', body: body, credentials: 'include', keepalive: body.length < 5e4 }).then(function (r) {
      busy = false
      // What is refused for good is not sent again.
      if (r.ok || r.status < 500 && r.status != 429 && r.status != 408) { tries = 0; gone(); if (queue.length) flush() } else later()
    }, function () { busy = false; later() })
  }
  var later = function () {
    clearTimeout(timer)
    timer = setTimeout(flush, Math.min(18e5, 3e3 * Math.pow(2, tries++)) * (0.5 + Math.random() / 2))
  }
  // A view is sent when it ends, when the page is hidden, or after some seconds: with the time that it was visible until then.
  var seen = function () { return view.shown + (view.since ? now() - view.since : 0) }
  var done = function () {
    clearTimeout(soon)
    if (!view || !ok || off) return
    view.data.duration_s = Math.round(seen() / 100) / 10
    add('page.viewed', view.data, view.at)
    view = null
  }
  var here = function () { return w.location.href.split('#')[0] }
  var last
  var page = function () {
    done()
    var from = last || d.referrer
    last = here()
    view = { at: now(), shown: 0, since: d.visibilityState == 'visible' ? now() : 0, data: { url: w.location.href, referrer: from || undefined } }
    clearTimeout(soon)
    soon = setTimeout(function () { done(); flush() }, 5e3)
    flush()
  }
  var moved = function () { if (here() != last) page() }
  var hide = function () { if (view && view.since) { view.shown = seen(); view.since = 0 } done(); flush(true) }
  var run = function (what, a, b) {
    if (what == 'page') page()
    if (what == 'track' && ok && !off) { add(a, b || {}); flush() }
    if (what == 'identify') { token = a || ''; traits = b; flush() }
    if (what == 'consent') {
      if (a) { ok = true; set(YES, '1'); done(); flush() } else {
        ok = !1; queue = []; token = ''
        ;[KEY, YES, SESSION].forEach(function (k) { set(k) })
        w.fetch(to, { method: 'POST', body: '{"forget":true}', credentials: 'include', keepalive: true }).catch(function () {})
      }
    }
  }
  w.lp = function () { run.apply(null, arguments) }
  w.lp.on = 1
  if (off) return
  if (get(YES)) ok = true
  try { if (ok) queue = JSON.parse(get(KEY)) || [] } catch (e) {}
  var found = /[?&]lp=(v1\.[\w.-]+)/.exec(w.location.search)
  if (found) {
    token = found[1]
    w.history.replaceState(w.history.state, '', w.location.href.replace(found[0], found[0][0] == '?' ? '?' : '').replace(/\?(?=#|$|&)/, '').replace('?&', '?'))
  }
  ;['pushState', 'replaceState'].forEach(function (name) {
    var real = w.history[name]
    w.history[name] = function () { var r = real.apply(this, arguments); moved(); return r }
  })
  w.addEventListener('popstate', moved)
  w.addEventListener('online', function () { flush() })
  w.addEventListener('pagehide', hide)
  w.addEventListener('pageshow', function (e) { if (e.persisted) page() })
  d.addEventListener('visibilitychange', function () { if (d.visibilityState == 'hidden') hide(); else if (view) view.since = now() })
  var start = function () { page(); waiting.forEach(function (a) { run.apply(null, a) }) }
  d.prerendering ? d.addEventListener('prerenderingchange', start, { once: true }) : start()
})(window, document)
