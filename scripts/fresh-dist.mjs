// Makes sure that dist holds what src says, for programs that import the package by its own name.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { rootDir } from './parts.mjs'

const distDir = join(rootDir, 'dist')
const stampFile = join(distDir, 'index.js')
const scratchDir = join(rootDir, '.tmp')
const lockDir = join(scratchDir, 'build-lock')
const LOCK_MS_MAX = 120_000

/** Builds where dist is missing or older than src. Says what it does on standard error. @returns false when the build failed. */
export async function ensureFreshDist() {
  if (isFresh()) return true
  mkdirSync(scratchDir, { recursive: true })
  // Two demos that start together build once.
  while (!tryLock()) await delay(100)
  try {
    return isFresh() || build()
  } finally {
    rmSync(lockDir, { recursive: true, force: true })
  }
}

function isFresh() {
  const builtAtMs = statSync(stampFile, { throwIfNoEntry: false })?.mtimeMs ?? 0
  return builtAtMs > newestMs(join(rootDir, 'src')) && builtAtMs > statSync(join(rootDir, 'tsconfig.json')).mtimeMs
}

function newestMs(dir) {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Math.max(0, ...files.map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs))
}

function tryLock() {
  try {
    mkdirSync(lockDir)
    return true
  } catch {
    const since = statSync(lockDir, { throwIfNoEntry: false })?.mtimeMs
    // Whoever made it was killed.
    if (since !== undefined && Date.now() - since > LOCK_MS_MAX) rmSync(lockDir, { recursive: true, force: true })
    return false
  }
}

/** Builds beside dist and then changes places, so that a running demo never sees half of it. */
function build() {
  process.stderr.write('building the package\n')
  const startedAt = new Date()
  const newDir = join(scratchDir, `dist-${process.pid}`)
  const oldDir = join(scratchDir, `dist-old-${process.pid}`)
  const tsc = join(rootDir, 'node_modules', '.bin', 'tsc')
  const { status } = spawnSync(tsc, ['-p', 'tsconfig.build.json', '--outDir', newDir], { cwd: rootDir, stdio: ['ignore', 2, 2], env: envWithTools() })
  if (status !== 0) {
    rmSync(newDir, { recursive: true, force: true })
    return false
  }
  // What is edited from now on is newer.
  utimesSync(join(newDir, 'index.js'), startedAt, startedAt)
  if (existsSync(distDir)) renameSync(distDir, oldDir)
  renameSync(newDir, distDir)
  rmSync(oldDir, { recursive: true, force: true })
  return true
}

function envWithTools() {
  const binDir = join(rootDir, 'node_modules', '.bin')
  return { ...process.env, PATH: `${binDir}:${process.env.PATH ?? ''}` }
}
