import AppModels
import SwiftUI

/// The models of a folder, with their size and whether they fit.
struct ModelList: View {
    @Bindable var browser: ModelBrowserViewModel
    let open: (ModelBrowserViewModel.Row) -> Void

    var body: some View {
        List {
            ForEach(browser.visibleRows) { row in
                Button {
                    open(row)
                } label: {
                    ModelRow(row: row)
                }
                .disabled(!row.canLoad)
                .swipeActions {
                    Button("Delete", role: .destructive) { browser.delete(row) }
                }
            }
        }
        .searchable(text: $browser.filter)
        .toolbar {
            Picker("Order", selection: $browser.order) {
                ForEach(ModelBrowserViewModel.Order.allCases, id: \.self) { order in
                    Text(order.rawValue.capitalized)
                }
            }
        }
        .overlay {
            if let error = browser.error {
                ContentUnavailableView(error, systemImage: "folder.badge.questionmark")
            } else if browser.rows.isEmpty {
                ContentUnavailableView("No models here", systemImage: "folder")
            }
        }
    }
}

struct ModelRow: View {
    let row: ModelBrowserViewModel.Row

    var body: some View {
        VStack(alignment: .leading) {
            Text(row.name)
            HStack {
                Text(row.modelType)
                if let bits = row.bits {
                    Text("\(bits) bits")
                }
                Text(row.size)
                Spacer()
                switch (row.isSupported, row.fit) {
                case (false, _): Label("Not supported", systemImage: "nosign")
                case (_, .fits): Label("Fits", systemImage: "checkmark.circle").foregroundStyle(.green)
                case (_, .tight): Label("Tight", systemImage: "exclamationmark.circle").foregroundStyle(.orange)
                case (_, .tooLarge): Label("Too large", systemImage: "xmark.circle").foregroundStyle(.red)
                }
            }
            .font(.caption)
            .foregroundStyle(.secondary)
        }
    }
}
