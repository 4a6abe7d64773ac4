// Checks the Salesforce package without an org; started by tools/check_salesforce.py.
//
//   node check.mjs <check> <folder>...      check: convert, flows, apex or pmd; prints one line a finding, exits 1
//
// Nothing here reaches the network.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";

// Security and bulk (queries, changes and the like in loops), and what is probably a mistake.
const PMD_RULES = ["Security", "Performance", "ErrorProne"].map((category) => `pmd:${category}:Apex`);

// The templates are deployed as drafts on purpose: an admin activates the one that fits, after mapping products.
const PASSED_OVER = new Set(["InactiveFlow"]);

function filesIn(folder, ending) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

const shown = (path) => relative(process.cwd(), path).split(sep).join("/");

/** Source becomes metadata: every file belongs to a component, and every component has its files. */
async function convert(folders) {
  const { ComponentSet, MetadataConverter } = (await import("@salesforce/source-deploy-retrieve")).default;
  const out = mkdtempSync(join(tmpdir(), "closed-won-metadata-"));
  try {
    const components = ComponentSet.fromSource(folders);
    const count = components.getSourceComponents().toArray().length;
    if (count === 0) return { findings: ["no component found"], said: "" };
    const { packagePath } = await new MetadataConverter().convert(components, "metadata", {
      type: "directory",
      outputDirectory: out,
      genUniqueDir: false,
    });
    const findings = existsSync(join(packagePath ?? out, "package.xml")) ? [] : ["no package.xml came out"];
    // What the converter does not know it leaves out without a word.
    const known = new Set(components.getSourceComponents().toArray().flatMap((c) => [c.xml, ...c.walkContent()]));
    for (const folder of folders) {
      for (const file of filesIn(folder, "")) {
        if (!known.has(file)) findings.push(`${shown(file)}: belongs to no component`);
      }
    }
    return { findings, said: `${count} components` };
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

async function flows(folders) {
  const scanner = (await import("@flow-scanner/lightning-flow-scanner-core")).default;
  const files = folders.flatMap((folder) => filesIn(folder, ".flow-meta.xml"));
  const findings = [];
  const parsed = await scanner.parse(files);
  for (const { flow, errorMessage, uri } of parsed) {
    if (errorMessage || !flow) findings.push(`${shown(uri)}: ${errorMessage ?? "cannot be read"}`);
    // Rules that follow the connectors know only the immediate path: show them the asynchronous one.
    else flow.startReference ||= [flow.start?.scheduledPaths].flat()[0]?.connector?.targetReference;
  }
  for (const result of scanner.scan(parsed)) {
    for (const rule of result.ruleResults.filter((one) => one.occurs && !PASSED_OVER.has(one.ruleName))) {
      for (const detail of rule.details) findings.push(`${result.flow.name}: ${rule.ruleName}: ${detail.name}`);
    }
  }
  return { findings, said: `${files.length} flows` };
}

async function apex(folders) {
  const { ApexErrorListener, ApexParserFactory } = await import("@apexdevtools/apex-parser");
  const files = folders.flatMap((folder) => [...filesIn(folder, ".cls"), ...filesIn(folder, ".trigger")]);
  const findings = [];
  for (const file of files) {
    class Listener extends ApexErrorListener {
      apexSyntaxError(line, column, message) {
        findings.push(`${shown(file)}:${line}:${column}: ${message}`);
      }
    }
    // Of the lexer too: a text in double quotes is its error, not the parser's.
    const { parser } = ApexParserFactory.createLexerAndParser(readFileSync(file, "utf8"), new Listener());
    if (file.endsWith(".trigger")) parser.triggerUnit();
    else parser.compilationUnit();
  }
  return { findings, said: `${files.length} classes` };
}

async function pmd(folders) {
  const core = (await import("@salesforce/code-analyzer-core")).default;
  const engine = (await import("@salesforce/code-analyzer-pmd-engine")).default;
  const work = mkdtempSync(join(tmpdir(), "closed-won-pmd-"));
  try {
    const config = core.CodeAnalyzerConfig.fromObject({ log_folder: work, engines: { cpd: { disable_engine: true } } });
    const analyzer = new core.CodeAnalyzer(config);
    await analyzer.addEnginePlugin(engine.createEnginePlugin());
    const files = folders.flatMap((folder) => filesIn(folder, ".cls"));
    const workspace = await analyzer.createWorkspace(files);
    const rules = await analyzer.selectRules(PMD_RULES, { workspace });
    const results = await analyzer.run(rules, { workspace });
    const findings = results.getViolations().map((violation) => {
      const place = violation.getPrimaryLocation();
      const file = place.getFile() ? shown(place.getFile()) : "pmd";
      return `${file}:${place.getStartLine() ?? 0}: ${violation.getRule().getName()}: ${violation.getMessage()}`;
    });
    return { findings: findings.sort(), said: `${files.length} classes, ${rules.getCount()} rules` };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const [check, ...folders] = process.argv.slice(2);
const { findings, said } = await { convert, flows, apex, pmd }
  [check](folders.filter(existsSync))
  .catch((error) => ({ findings: [error.message || String(error)], said: "" }));
for (const finding of findings) console.log(finding);
if (findings.length === 0) console.log(said);
process.exit(findings.length ? 1 : 0);
