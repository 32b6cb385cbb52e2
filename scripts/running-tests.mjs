// A reporter of vitest that says, now and then, which tests are under way: what a hang would otherwise hide.
// oxlint-disable import/no-default-export, typescript/prefer-readonly -- vitest loads a reporter by its default export; JavaScript has no readonly

const LOOK_MS = 30_000
/** Younger tests are no news. */
const NEWS_MS = 45_000

/** Names the tests that run for long. */
export default class RunningTests {
  #running = new Map()
  #timer

  onInit() {
    this.#timer = setInterval(() => this.#tell(), LOOK_MS)
    this.#timer.unref()
  }

  onTestModuleQueued(module) {
    this.#begin(module.id, `${module.relativeModuleId} (its file loads or its hooks run)`)
  }

  onTestModuleEnd(module) {
    this.#running.delete(module.id)
  }

  onTestCaseReady(test) {
    this.#running.delete(test.module.id)
    this.#begin(test.id, `${test.module.relativeModuleId}: ${test.fullName}`)
  }

  onTestCaseResult(test) {
    this.#running.delete(test.id)
    this.#begin(test.module.id, `${test.module.relativeModuleId} (between its tests)`)
  }

  onTestRunEnd() {
    clearInterval(this.#timer)
  }

  #begin(id, name) {
    this.#running.set(id, { name, sinceMs: performance.now() })
  }

  #tell() {
    const nowMs = performance.now()
    for (const { name, sinceMs } of this.#running.values()) {
      if (nowMs - sinceMs >= NEWS_MS) console.log(`   … runs for ${((nowMs - sinceMs) / 1000).toFixed(0)} s: ${name}`)
    }
  }
}
