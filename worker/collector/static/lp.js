// LeadPulse's pixel. window.lp('page'), lp('track', TYPE, DATA), lp('identify', TOKEN, TRAITS), lp('consent', true|false).
// The server sets the visitor's cookie. Nothing is kept or sent before consent where the site asks for it.
(function (w, d) {
  'use strict'
  var me = d.currentScript, n = w.navigator, QUEUE = 'lp_queue', YES = 'lp_consent', SESSION = 'lp_session', FIRST = 'lp_first', FORGET = '{"forget":true}'
  if (!me || w.lp && w.lp.on) return
  var waiting = (w.lp && w.lp.q) || [], to = me.src.replace(/lp\.js.*$/, 'e'), memory = {}
  var off = n.globalPrivacyControl || n.webdriver && !me.hasAttribute('data-test') || RESPECT_DNT && n.doNotTrack == '1' || !w.fetch || !w.crypto
  var ok = !CONSENT_REQUIRED, queue = [], view, last, token = '', traits, tries = 0, timer, leaving, busy, forgetting, started, durable
  // Without localStorage, as in some private windows, all of it lasts as long as the page.
  var get = function (k) { try { return w.localStorage.getItem(k) || memory[k] } catch (e) { return memory[k] } }
  var set = function (k, v) {
    memory[k] = v
    try { v ? w.localStorage.setItem(k, v) : w.localStorage.removeItem(k); durable = 1 } catch (e) { durable = 0 }
  }
  var id = function () {
    if (w.crypto.randomUUID) return w.crypto.randomUUID()
    var h = [].map.call(w.crypto.getRandomValues(new Uint8Array(16)), function (b) { return (b + 256).toString(16).slice(1) }).join('')
    return h.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }
  var now = function () { return Date.now() }
  var without = function (list, some) {
    return list.filter(function (e) { return e && !some.some(function (o) { return o.id == e.id }) })
  }
  var stored = function () { try { return [].concat(JSON.parse(get(QUEUE)) || []) } catch (e) { return [] } }
  // Other tabs of the site keep their events in the same place.
  var save = function (gone) {
    var all = without(without(stored(), gone), queue).concat(queue).slice(-200)
    set(QUEUE, all.length ? JSON.stringify(all) : '')
  }
  // A session ends after half an hour without an event, and not at midnight.
  var session = function () {
    var held = (get(SESSION) || '').split(' '), s = now() - held[1] < 18e5 ? held[0] : id()
    set(SESSION, s + ' ' + now())
    return s
  }
  var copy = function (o) {
    try { o = JSON.parse(JSON.stringify(o)) } catch (e) { o = 0 }
    return {}.toString.call(o) == '[object Object]' ? o : {}
  }
  var add = function (type, data, at) {
    data = copy(data)
    data.session_id = data.session_id || session()
    queue = queue.concat({ id: id(), type: '' + type, at: at || now(), data: data }).slice(-200)
    save([])
  }
  // What two first beacons propose is the same visitor. The server takes it where there is no cookie yet.
  var first, flying
  var post = function (body, some, then) {
    busy = true
    flying = some
    w.fetch(to, { method: 'POST', body: body, credentials: 'include', keepalive: body.length < 2e4 }).then(function (r) {
      busy = false
      // What is refused for good is not sent again.
      if (r.ok || r.status < 500 && r.status != 429 && r.status != 408) { tries = 0; then(r.ok); flush() } else later()
    }, function () { busy = false; later() })
  }
  var flush = function (closing) {
    if (busy && !closing || n.onLine === false) return
    if (forgetting) {
      if (closing && n.sendBeacon) n.sendBeacon(to, FORGET)
      else if (!busy) post(FORGET, [], function () { forgetting = 0 })
      return
    }
    // A beacon's answer cannot be read, so nothing goes by it while the server asks to come again.
    if (!ok || closing && tries && durable) return
    var some = (busy ? without(queue, flying) : queue).slice(0, 40), said = busy ? '' : token, body
    if (!some.length && !said) return
    first = first || get(FIRST) || id()
    set(FIRST, first)
    for (;;) {
      body = JSON.stringify({ sent: now(), consent: true, visitor: first, events: some, identify: said, traits: traits })
      if (body.length < 2e4 || some.length < 2) break
      some = some.slice(0, some.length >> 1)
    }
    var gone = function () {
      queue = without(queue, some)
      if (token == said) { token = ''; traits = undefined }
      save(some)
    }
    if (closing && n.sendBeacon && n.sendBeacon(to, body)) return gone()
    if (!busy) post(body, some, function (kept) { gone(); if (kept) set(FIRST) })
  }
  var later = function () {
    clearTimeout(timer)
    timer = setTimeout(function () { flush() }, Math.min(18e5, 3e3 * Math.pow(2, tries++)) * (0.5 + Math.random() / 2))
  }
  // A view is sent when it ends or is hidden, or after two minutes: with the time that it was visible until then.
  var seen = function () { return view.shown + (view.since ? now() - view.since : 0) }
  var visible = function () { return d.visibilityState == 'visible' }
  var watch = function () {
    clearTimeout(leaving)
    if (!view || !visible()) return
    view.since = view.since || now()
    view.at = view.at || view.since
    if (ok) leaving = setTimeout(function () { done(); flush() }, Math.max(0, 12e4 - seen()))
  }
  // A page in a tab that was never looked at was not viewed.
  var done = function () {
    clearTimeout(leaving)
    if (view && view.at && ok) {
      view.data.duration_s = Math.round(seen() / 100) / 10
      add('page.viewed', view.data, view.at)
      view = 0
    }
  }
  var here = function () { return w.location.href.split('#')[0] }
  var page = function () {
    done()
    view = { shown: 0, data: { url: w.location.href, referrer: last || d.referrer || undefined } }
    last = here()
    watch()
    flush()
  }
  var moved = function () { if (started && w.top == w && here() != last) page() }
  var hide = function () {
    if (view && view.since) { view.shown = seen(); view.since = 0 }
    done()
    flush(true)
  }
  var deny = function () {
    ok = !1; queue = []; token = ''; traits = first = undefined
    ;[QUEUE, YES, SESSION, FIRST].forEach(function (k) { set(k) })
  }
  var run = function (what, a, b) {
    if (off) return
    if (what == 'page') page()
    if (what == 'track' && ok) { add(a, b); flush() }
    if (what == 'identify') { token = '' + (a || ''); traits = copy(b); flush() }
    if (what == 'consent') {
      if (a) { ok = true; set(YES, '1'); watch(); flush() } else { deny(); forgetting = true; flush() }
    }
  }
  w.lp = function () { started ? run.apply(0, arguments) : waiting.push(arguments) }
  w.lp.on = 1
  var found = /([?&])lp=(v1\.[^&#]*)/.exec(w.location.search)
  if (found) {
    token = found[2]
    try { w.history.replaceState(w.history.state, '', w.location.href.replace(found[0], found[1]).replace(/([?&])&/, '$1').replace(/[?&](?=#|$)/, '')) } catch (e) {}
  }
  if (off) return
  if (get(YES)) ok = true
  if (ok) queue = stored()
  ;['pushState', 'replaceState'].forEach(function (name) {
    var real = w.history[name]
    w.history[name] = function () { var r = real.apply(this, arguments); moved(); return r }
  })
  w.addEventListener('popstate', moved)
  w.addEventListener('online', function () { flush() })
  w.addEventListener('pagehide', hide)
  w.addEventListener('pageshow', function (e) { if (e.persisted && w.top == w) { last = 0; page() } })
  // Consent in one tab is consent in all.
  w.addEventListener('storage', function (e) { if (e.key == YES) { if (e.newValue) { ok = true; watch(); flush() } else deny() } })
  d.addEventListener('visibilitychange', function () { visible() ? watch() : hide() })
  var start = function () {
    started = 1
    var is = function (yes) { return function (a) { return (a[0] == 'consent') == yes } }
    waiting.filter(is(true)).forEach(function (a) { run.apply(0, a) })
    // A frame is no page of its own.
    if (w.top == w) page()
    waiting.filter(is(false)).forEach(function (a) { run.apply(0, a) })
  }
  d.prerendering ? d.addEventListener('prerenderingchange', start, { once: true }) : start()
})(window, document)
